// What a study measures without tuning: how much of a gradient a mask keeps, and how far slopes of one model
// and compute policy lie from those of another.
//
//     {"kind": "mask", "mask": "fisher", "against": "fisher-task:tweets/train.jsonl", ...}
//     {"kind": "slopes", "compute": "f32", "against": "formats/f32.gguf", "epsilon": 0.001, "steps": 32, ...}
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>
#include <zoq/core/settings.hpp>
#include <zoq/data/row_order.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/random/seeds.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/view/layouts.hpp>

#include "plan_line.hpp"
#include "sources.hpp"

namespace zoq::study {

/// The policies that a line names. Throws, naming slot and choices.
struct policies {
  any_estimator estimator;
  any_optimizer optimizer;
  any_direction direction;
  any_schedule schedule;
  any_view view;

  explicit policies(const plan_line& line)
      : estimator(policy_named<any_estimator::list>("estimator", line.estimator)),
        optimizer(policy_named<any_optimizer::list>("optimizer", line.optimizer)),
        direction(policy_named<any_direction>("direction", line.direction)),
        schedule(policy_named<any_schedule>("schedule", line.schedule)),
        view(policy_named<any_view>("view", line.view)) {}
};

namespace detail {

/// The sum of a matrix' scores at the places that the mask has in it.
inline double sum_within(const mask& m, std::string_view tensor, std::span<const float> scores) {
  double sum = 0;
  for (const tensor_mask& t : m.tensors) {
    if (t.tensor == tensor) {
      for (const std::int32_t i : t.index) {
        sum += static_cast<double>(scores[static_cast<std::size_t>(i)]);
      }
    }
  }
  return sum;
}

}  // namespace detail

/// The share of all the scores `against` that the line's mask keeps ("share_kept"), beside what the best mask
/// of the same density keeps ("share_own"), and how far both masks agree ("jaccard"); for each matrix its
/// name, both shares, and the sum of its scores. Cost: three readings of the scores.
inline nlohmann::json kept_by_mask(sources& from, const plan_line& line) {
  const mask& places = from.places(line);
  const stored_scores scores = from.scores(line, line.against, line.against_seed);
  const mask best = top_k(scores, {line.density, scope_named(line.scope)});
  nlohmann::json tensors = nlohmann::json::array();
  double all = 0, kept = 0, most = 0;
  scores.visit([&](std::string_view tensor, index_t, index_t, std::span<const float> s) {
    double sum = 0;
    for (const float one : s) {
      sum += static_cast<double>(one);
    }
    const double here = detail::sum_within(places, tensor, s);
    const double own = detail::sum_within(best, tensor, s);
    tensors.push_back(
        {std::string(tensor), sum > 0 ? here / sum : 0, sum > 0 ? own / sum : 0, sum});
    all += sum;
    kept += here;
    most += own;
  });
  require(all > 0, "the scores of \"", line.against, "\" are all zero");
  return {{"k", places.count()},     {"share_kept", kept / all},
          {"share_own", most / all}, {"jaccard", jaccard(places, best)},
          {"mask", places.hash()},   {"tensors", tensors}};
}

/// (L(w + e z) - L(w - e z)) / (2 e) on the first batch of the run, for `steps` directions of the line's.
inline std::vector<double> slopes_of(const plan_line& line, const policies& p,
                                     const studied_model& m, const task& rows, const mask* places,
                                     compute products, const source_options& o) {
  const cpu exec({o.threads, cli::kernels_named(o.kernels), products});
  view_target target = target_of(m.model);
  target.selection = select(line.layers, line.exclude);
  target.places = places;
  laid_out_view<cpu, any_layout<cpu>> view(exec, layout_of(exec, p.view, target));
  auto pass = forward_of(exec, m.model);
  const auto all = static_cast<index_t>(rows.train.rows.size());
  std::vector<const example*> batch;
  for (const index_t i : row_order(all, line.batch_size, line.seed).batch(0)) {
    batch.push_back(&rows.train.rows[static_cast<std::size_t>(i)]);
  }
  const any_direction direction = direction_at(p.direction, line.seed, 0);
  std::vector<double> out;
  for (index_t d = 0; d < line.steps; ++d) {
    const seed_t seed = derive_seed(line.seed, purpose::directions, static_cast<std::uint64_t>(d));
    const query pair[] = {{.seed = seed, .scale = *line.epsilon},
                          {.seed = seed, .scale = -*line.epsilon}};
    view.move_to(exec, direction, pair);
    const evaluation e = evaluate(pass, view.branches(), rows.train.objective, batch);
    out.push_back((e.branch[0].mean() - e.branch[1].mean()) / (2 * *line.epsilon));
  }
  return out;
}

/// Slopes of the line's model and compute policy beside those of the model `against` (empty: the same one)
/// in f32: both lists, and the root mean squares of their differences and of the latter. Throws without
/// steps and epsilon.
inline nlohmann::json slopes_beside(sources& from, const plan_line& line) {
  require(line.steps > 0 && line.epsilon.has_value(), "slopes need steps and an epsilon");
  const policies p(line);
  mask places;
  if (!line.mask.empty()) {
    places = from.places(line);
  }
  const mask* at = line.mask.empty() ? nullptr : &places;
  const task& rows = from.rows(line);
  const source_options& o = from.options();
  const auto here = slopes_of(line, p, from.model(line), rows, at,
                              cli::products_named(line.compute, o.kernels, true), o);
  const std::string& other = line.against.empty() ? line.model : line.against;
  const auto there = slopes_of(line, p, from.model(other), rows, at, compute::f32, o);
  double errors = 0, sizes = 0;
  for (std::size_t i = 0; i < here.size(); ++i) {
    errors += (here[i] - there[i]) * (here[i] - there[i]);
    sizes += there[i] * there[i];
  }
  const auto n = static_cast<double>(here.size());
  return {{"slopes", here},
          {"slopes_against", there},
          {"rms_error", std::sqrt(errors / n)},
          {"rms_slope", std::sqrt(sizes / n)}};
}

}  // namespace zoq::study
