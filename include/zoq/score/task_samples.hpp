// Labelled rows as samples of a reverse pass: the loss of a row is an objective's.
//
//     zoq::task_samples samples{rows, zoq::option_likelihood{}};
//     zoq::reverse_of(exec, model).gradients(samples, {}, visit, progress);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/data/example.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

/// Objective: what an objective is, with read_weights (objective/objective.hpp).
template <class Objective>
struct task_samples {
  std::vector<example> rows;  // labelled, one sample each
  Objective objective{};      // whose loss is taken

  /// How many samples there are.
  [[nodiscard]] index_t count() const { return static_cast<index_t>(rows.size()); }

  /// Throws, with the row's number, on a row that does not suit the objective.
  void pack(index_t i, packing& batch) const {
    try {
      objective.pack(rows[static_cast<std::size_t>(i)], batch);
    } catch (const error& e) {
      fail("row ", i + 1, ": ", e.what());
    }
  }
  /// Throws when the loss is not finite.
  [[nodiscard]] double loss(index_t i, std::span<const double> scores,
                            std::span<double> weights) const {
    const example& row = rows[static_cast<std::size_t>(i)];
    const double loss = objective.loss(row, scores);
    require(std::isfinite(loss), "row ", i + 1, ": the loss is ", loss);
    objective.read_weights(row, scores, weights);
    return loss;
  }
};
/// So that `task_samples{rows, objective}` needs no type.
template <class Objective>
task_samples(std::vector<example>, Objective) -> task_samples<Objective>;

}  // namespace zoq
