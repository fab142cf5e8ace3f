// fisher-task: the mean squared gradient of the task's own loss on labelled rows:
//
//     score[w] = mean over rows of (d loss(row) / d w)^2
//
//     zoq::fisher_task score(exec, model, rows, zoq::option_likelihood{});
//     auto mask = zoq::top_k(score, {.density = 0.001});
//
// What the mask of general text is compared with: it sees the task, and serves that task alone.
// `square_of_mean` and `at` are as in fisher.hpp. The empirical Fisher of a task, as in Sung et al.,
// "FISH Mask", arXiv 2111.09839.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/data/example.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/score/task_samples.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

template <executor X, class Model, class Objective>
class fisher_task {
 public:
  static constexpr std::string_view name = "fisher-task";
  static constexpr std::string_view summary =
      "mean squared gradient of the task's loss on its rows";
  static constexpr std::string_view paper = "arXiv 2111.09839";
  static constexpr std::string_view cost = "about 6 forwards over the rows, with a reverse pass";

  /// Keeps references to executor and model. The objective has derivatives (weighing_objective).
  fisher_task(
      const X& exec, const Model& model, std::vector<example> rows, Objective objective,
      score_progress progress = [](index_t, index_t) {}, const fisher_options& options = {})
      : score_(exec, model, {std::move(rows), std::move(objective)}, std::move(progress), options) {
  }

  /// As fisher's.
  [[nodiscard]] index_t entries() const { return score_.entries(); }

  /// As fisher's. Returns the mean loss of the rows.
  double visit(gradient_visitor visit) const { return score_.visit(visit); }

 private:
  fisher<X, Model, task_samples<Objective>> score_;
};

}  // namespace zoq
