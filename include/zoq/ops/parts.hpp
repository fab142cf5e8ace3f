// What a view adds to the tensors of a model, as data. Views fill parts, operations and executors
// own the arithmetic: so one view serves every executor, and the forward pass knows no view.
//
//     parts p = branches.on(tensor);      // this tensor's additions, with values for every branch
//     zoq::linear(exec, x, weight, p, branches.stack(), y);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

#include "zoq/core/config.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/branch_stack.hpp"

namespace zoq {

struct parts {
  std::optional<sparse_part> sparse{};
};

/// The parts of every tensor of a model, for branches that are evaluated together. Rows of an
/// activation are branch-major: row b * T + t is row t of branch b.
struct branch_parts {
  index_t count = 1;              // branches
  std::span<const parts> tensor;  // by tensor number; empty: the base alone
  bool pairs = false;             // see branch_stack

  [[nodiscard]] branch_stack stack() const { return {count, pairs}; }

  [[nodiscard]] parts on(index_t number) const {
    return tensor.empty() ? parts{} : tensor[static_cast<std::size_t>(number)];
  }
};

}  // namespace zoq
