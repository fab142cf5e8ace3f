// What a view adds to the tensors of a model, as data. Views fill parts, operations and executors
// own the arithmetic: so one view serves every executor, and the forward pass knows no view.
//
//     parts p = branches.on(tensor);      // this tensor's additions, with values for every branch
//     zoq::linear(exec, x, weight, p, branches.stack(), y);
//
// Of a tensor W [O, C], a norm's gain or a bias being [1, C], branch b uses
//
//     W_b = (1 + factor_b) * decode(W) + offset_b      y = x W_b^T + scale (x A_b^T) B_b^T + x S_b^T
//
// with S_b the sparse entries. Parts that are not there change no bit, and values of zero none but
// the sign of a zero.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

#include "zoq/core/config.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// One part's values among all of a view, in the executor's memory.
struct part_values {
  tensor_view<const float, 2> all;  // [branches, k], or [1, k]: the same for every branch
  index_t first = 0;                // of this part

  /// Where this part's values of a branch begin.
  [[nodiscard]] ZOQ_HD const float* at(index_t branch) const {
    return all.data + (all.shape[0] == 1 ? 0 : branch) * all.shape[1] + first;
  }
  /// The values that begin `more` further on.
  [[nodiscard]] part_values from(index_t more) const { return {all, first + more}; }
};

/// Beside the weight: scale * B A.
struct low_rank_part {
  index_t rank = 0;  // R
  float scale = 1;   // of the product
  part_values a;     // [R, C]
  part_values b;     // [O, R]
};

/// Added to the decoded weight.
struct offset_part {
  part_values offset;  // [O, C]
};

/// The decoded weight is multiplied by 1 + factor.
struct factor_part {
  index_t block = 1;   // columns that share a factor; divides C
  part_values factor;  // [O, C / block] offsets from 1
};

struct parts {
  std::optional<sparse_part> sparse{};      // on single entries
  std::optional<low_rank_part> low_rank{};  // beside the weight
  std::optional<offset_part> offset{};      // of every element
  std::optional<factor_part> factor{};      // of blocks of columns

  /// Nothing is added: the base alone.
  [[nodiscard]] bool empty() const { return !sparse && !low_rank && !changes_weight(); }
  /// True when a branch has a weight of its own, not only something beside it.
  [[nodiscard]] bool changes_weight() const { return offset || factor; }
};

/// Rows of activations before every sequence: a soft prompt.
struct prompt_part {
  index_t rows = 0;  // P
  part_values x;     // [P, C]
};

/// Keys (not yet turned by positions) and values of one layer before every sequence.
struct prefix_part {
  index_t rows = 0;  // P
  part_values key,   // [P, K * D]
      value;         // [P, K * D]
};

/// The parts of every tensor of a model, for branches that are evaluated together. Rows of an
/// activation are branch-major: row b * T + t is row t of branch b.
struct branch_parts {
  index_t count = 1;                      // branches
  std::span<const parts> tensor;          // by tensor number; empty: the base alone
  bool pairs = false;                     // see branch_stack
  std::optional<prompt_part> prompt{};    // before every sequence
  std::span<const prefix_part> prefix{};  // by layer; empty: none

  [[nodiscard]] branch_stack stack() const { return {count, pairs}; }  // of activations

  /// The parts of the tensor of this number; empty where it has none.
  [[nodiscard]] parts on(index_t number) const {
    return tensor.empty() ? parts{} : tensor[static_cast<std::size_t>(number)];
  }
  /// Rows that stand before every sequence.
  [[nodiscard]] index_t leading_rows() const {
    return prompt ? prompt->rows : prefix.empty() ? 0 : prefix.front().rows;
  }
};

}  // namespace zoq
