// What a view adds to the tensors of a model, as data. Views fill parts, operations and executors
// own the arithmetic: so one view serves every executor, and the forward pass knows no view.
//
//     parts p = branches.on(tensor);      // this tensor's additions, with values for every branch
//     zoq::linear(exec, x, weight, p, branches.count, y);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "zoq/core/config.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// n values added to single entries of a weight: w[row[j], column[j]] += values[b, first + j] in
/// branch b. One pattern for all branches. Sorted by row, then column.
struct sparse_part {
  tensor_view<const std::int32_t, 1> row;     // [n]
  tensor_view<const std::int32_t, 1> column;  // [n]
  tensor_view<const float, 2> values;         // [branches, k] the whole view's
  index_t first = 0;                          // this tensor's place among the k
};

struct parts {
  std::optional<sparse_part> sparse{};
};

/// The parts of every tensor of a model, for branches that are evaluated together. Rows of an
/// activation are branch-major: row b * T + t is row t of branch b.
struct branch_parts {
  index_t count = 1;              // branches
  std::span<const parts> tensor;  // by tensor number; empty: the base alone

  [[nodiscard]] parts on(index_t number) const {
    return tensor.empty() ? parts{} : tensor[static_cast<std::size_t>(number)];
  }
};

}  // namespace zoq
