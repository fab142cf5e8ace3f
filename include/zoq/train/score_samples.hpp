// What a score sees of data: general text, or labelled rows; and the loss of either.
//
//     auto seen = zoq::samples_of_text(windows);
//     seen.loss(pass, view.branches());
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/data/example.hpp"
#include "zoq/objective/objectives.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/train/evaluate.hpp"
#include "zoq/train/reference.hpp"

namespace zoq {

struct score_samples {
  std::vector<std::vector<token_t>> windows;  // general text; none: the rows are labelled
  std::vector<example> rows;                  // or the windows as rows of running text
  any_objective objective;                    // of the rows

  /// What an objective that refers to the untuned model keeps of it: once, before a score sees the rows.
  template <executor X, class Model>
  void set_references(const X& exec, const Model& model) {
    if (objective.refers()) {
      auto pass = forward_of(exec, model);
      zoq::set_references(pass, objective, rows);
    }
  }

  /// The mean loss with these parts beside the weights, as the scores by forward passes take it. `pass` is
  /// a model's forward pass. Throws as `evaluate` does.
  template <class Pass>
  [[nodiscard]] double loss(Pass& pass, const branch_parts& parts) const {
    std::vector<const example*> all;
    for (const example& row : rows) {
      all.push_back(&row);
    }
    return evaluate(pass, parts, objective, all).branch[0].mean();
  }
};

/// Every window as a row of running text. Windows have at least two tokens.
score_samples samples_of_text(std::vector<std::vector<token_t>> windows);

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY score_samples samples_of_text(std::vector<std::vector<token_t>> windows) {
  score_samples out{std::move(windows), {}, next_token{}};
  for (const auto& window : out.windows) {
    example row;
    row.prompt.assign(window.begin(), window.begin() + 1);
    row.continuations.emplace_back(window.begin() + 1, window.end());
    out.rows.push_back(std::move(row));
  }
  return out;
}

}  // namespace zoq

#endif
