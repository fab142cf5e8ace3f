// What estimators share: the seeds of a step's probes, pairs of queries, checks of settings and losses.
//
//     wanted.push_back({.seed = zoq::probe_seed(at, 0), .scale = epsilon});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

/// The seed of probe p of a step: the step's own for the first, derived ones for the others.
seed_t probe_seed(const step_info& at, int probe);

namespace detail {

/// Throws, naming step and place, on a loss that is not finite: an estimate must never be NaN.
void require_finite(const step_info& at, std::span<const answer> answers);

void require_settings(std::string_view name, double epsilon, int probes);

/// A query and the one opposite to it.
void push_pair(std::vector<query>& wanted, query q);

/// The pairs of a step's probes: 2 `probes` queries.
void push_pairs(std::vector<query>& wanted, const step_info& at, double epsilon, int probes);

/// One point of each of a step's probes: `probes` queries.
void push_points(std::vector<query>& wanted, const step_info& at, double epsilon, int probes);

/// The slope of pair i, whose losses are the answers 2 i and 2 i + 1.
inline double slope_of_pair(std::span<const answer> answers, std::size_t i, double epsilon) {
  return (answers[2 * i].loss - answers[2 * i + 1].loss) / (2 * epsilon);
}

/// The mean of the losses: near the values, when they are of pairs or of many directions.
double mean_loss(std::span<const answer> answers);

}  // namespace detail

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>

#include "zoq/core/error.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY seed_t probe_seed(const step_info& at, int probe) {
  return probe == 0 ? at.seed
                    : derive_seed(at.seed, purpose::probes, static_cast<std::uint64_t>(probe));
}

namespace detail {

ZOQ_BODY void require_finite(const step_info& at, std::span<const answer> answers) {
  for (std::size_t i = 0; i < answers.size(); ++i) {
    require(std::isfinite(answers[i].loss), "step ", at.step, ": loss ", i, " of ", answers.size(),
            " is ", answers[i].loss);
  }
}

ZOQ_BODY void require_settings(std::string_view name, double epsilon, int probes) {
  require(std::isfinite(epsilon) && epsilon > 0, name, ": epsilon is ", epsilon,
          ", wanted a positive number");
  require(probes >= 1, name, ": ", probes, " probes, wanted at least 1");
  require(probes <= 1 << 16, name, ": ", probes, " probes, wanted at most 65,536");
}

ZOQ_BODY void push_pair(std::vector<query>& wanted, query q) {
  wanted.push_back(q);
  q.scale = -q.scale;
  wanted.push_back(q);
}

ZOQ_BODY void push_pairs(std::vector<query>& wanted, const step_info& at, double epsilon,
                         int probes) {
  for (int p = 0; p < probes; ++p) {
    push_pair(wanted, {.seed = probe_seed(at, p), .scale = epsilon});
  }
}

ZOQ_BODY void push_points(std::vector<query>& wanted, const step_info& at, double epsilon,
                          int probes) {
  for (int p = 0; p < probes; ++p) {
    wanted.push_back({.seed = probe_seed(at, p), .scale = epsilon});
  }
}

ZOQ_BODY double mean_loss(std::span<const answer> answers) {
  double sum = 0;
  for (const answer& a : answers) {
    sum += a.loss;
  }
  return answers.empty() ? 0.0 : sum / static_cast<double>(answers.size());
}

}  // namespace detail

}  // namespace zoq

#endif
