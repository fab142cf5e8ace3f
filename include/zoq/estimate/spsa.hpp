// spsa: simultaneous perturbation stochastic approximation, from losses alone.
//
//     two-sided:  g = 1/q sum_p (L(w + e z_p) - L(w - e z_p)) / (2 e) z_p      2 q losses
//     one-sided:  g = 1/q sum_p (L(w + e z_p) - L(w)) / e z_p                  q + 1 losses
//
//     zoq::spsa estimator{.epsilon = 5e-3};
//
// E[g] is the gradient up to O(e^2), two-sided, or O(e). Spall, IEEE TAC 37(3), 1992; for language
// models Malladi et al., "MeZO", arXiv 2305.17333.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

/// The seed of probe p of a step: the step's own for the first, derived ones for the others.
inline seed_t probe_seed(const step_info& at, int probe) {
  return probe == 0 ? at.seed
                    : derive_seed(at.seed, purpose::probes, static_cast<std::uint64_t>(probe));
}

namespace detail {

/// Throws, naming step and place, on a loss that is not finite: an estimate must never be NaN.
inline void require_finite(const step_info& at, std::span<const answer> answers) {
  for (std::size_t i = 0; i < answers.size(); ++i) {
    require(std::isfinite(answers[i].loss), "step ", at.step, ": loss ", i, " of ", answers.size(),
            " is ", answers[i].loss);
  }
}

inline void require_settings(std::string_view name, double epsilon, int probes) {
  require(std::isfinite(epsilon) && epsilon > 0, name, ": epsilon is ", epsilon,
          ", wanted a positive number");
  require(probes >= 1, name, ": ", probes, " probes, wanted at least 1");
}

}  // namespace detail

struct spsa {
  static constexpr std::string_view name = "spsa";
  using state = no_state;
  double epsilon = 5e-3;
  int probes = 1;

  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, probes);
    if (!answers.empty()) {
      return false;
    }
    for (int p = 0; p < probes; ++p) {
      wanted.push_back({.seed = probe_seed(at, p), .scale = epsilon});
      wanted.push_back({.seed = probe_seed(at, p), .scale = -epsilon});
    }
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    for (std::size_t p = 0; p + 1 < answers.size(); p += 2) {
      g.slope = (answers[p].loss - answers[p + 1].loss) / (2 * epsilon);
      g.loss += (answers[p].loss + answers[p + 1].loss) / static_cast<double>(answers.size());
      g.terms.push_back({asked[p].seed, g.slope / probes});
    }
  }
};
static_assert(estimator<spsa, any_executor>);

struct spsa_one_sided {
  static constexpr std::string_view name = "spsa-one-sided";
  using state = no_state;
  double epsilon = 5e-3;
  int probes = 1;

  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, probes);
    if (!answers.empty()) {
      return false;
    }
    wanted.push_back({});  // the shared base
    for (int p = 0; p < probes; ++p) {
      wanted.push_back({.seed = probe_seed(at, p), .scale = epsilon});
    }
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    g.loss = answers[0].loss;
    for (std::size_t p = 1; p < answers.size(); ++p) {
      g.slope = (answers[p].loss - answers[0].loss) / epsilon;
      g.terms.push_back({asked[p].seed, g.slope / probes});
    }
  }
};
static_assert(estimator<spsa_one_sided, any_executor>);

}  // namespace zoq
