// Branches stacked in the rows of one product, with values of their own: what the tests of pairs, of
// overlays and of layers that share their inputs have in common.
//
//     stacked_case<zoq::q4_1> test({.branches = 4, .rows = 17, .outputs = 70, .columns = 96});
//     std::vector<float> y = test.product(exec, {4, true}, x);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "exec/linear_case.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/tensor/branch_stack.hpp"

namespace zoq::test {

/// y = x W^T + part by an executor. x: [R, C]; result [R, O], empty where more was written.
template <class X>
std::vector<float> stacked_product(const X& exec, const branch_stack& stack,
                                   const std::vector<float>& x, const any_packed& w,
                                   const sparse_part* added = nullptr) {
  const auto rows = static_cast<index_t>(x.size()) / w.columns();
  std::vector<float> y = linear_case<q8_0>::output(rows * w.rows());
  const linear_layer layer{w, added, {y.data(), {rows, w.rows()}}};
  exec.linear({x.data(), {rows, w.columns()}}, stack, std::span(&layer, 1));
  return linear_case<q8_0>::guarded(std::move(y));
}

/// Rows of branches [first, first + count) of x or y, `rows` to a branch.
inline std::vector<float> branches_of(const std::vector<float>& from, index_t branches,
                                      index_t first, index_t count) {
  const auto each = static_cast<std::ptrdiff_t>(from.size()) / branches;
  return {from.begin() + first * each, from.begin() + (first + count) * each};
}

/// Branches 2 p and 2 p + 1 that differ by about `distance` of their size. [branches * rows, columns]
inline std::vector<float> near_pairs(index_t branches, index_t rows, index_t columns,
                                     double distance, seed_t seed) {
  std::vector<float> x = uniform(branches * rows * columns, seed);
  const std::vector<float> step = uniform(branches * rows * columns, seed + 1, -distance, distance);
  const auto each = static_cast<std::size_t>(rows * columns);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i / each % 2 == 1) {
      x[i] = x[i - each] + step[i];
    }
  }
  return x;
}

/// Entries of an [outputs, columns] matrix with values for every branch, between those of other
/// tensors.
struct entries {
  std::vector<std::int32_t> row, column;
  std::vector<float> values;  // [branches, stride]
  index_t branches = 0, stride = 0;
  static constexpr index_t first = 3;

  /// At ascending flat indices. Values are whole numbers up to `most`, or uniform in [-1, 1).
  entries(const std::vector<index_t>& flat, index_t columns, index_t branch_count, seed_t seed,
          int most = 0)
      : branches(branch_count), stride(first + static_cast<index_t>(flat.size()) + 2) {
    for (const index_t i : flat) {
      row.push_back(static_cast<std::int32_t>(i / columns));
      column.push_back(static_cast<std::int32_t>(i % columns));
    }
    values =
        most != 0 ? whole_numbers(branches * stride, seed, most) : uniform(branches * stride, seed);
  }
  [[nodiscard]] sparse_part part() const { return of(0, branches); }
  /// Values of some of the branches only.
  [[nodiscard]] sparse_part of(index_t branch, index_t count) const {
    const auto n = static_cast<index_t>(row.size());
    return {{row.data(), {n}},
            {column.data(), {n}},
            {values.data() + branch * stride, {count, stride}},
            first};
  }
};

/// Every `step`-th entry of outputs [begin, end).
inline std::vector<index_t> every_entry(index_t begin, index_t end, index_t columns, index_t step) {
  std::vector<index_t> out;
  for (index_t i = begin * columns; i < end * columns; i += step) {
    out.push_back(i);
  }
  return out;
}

}  // namespace zoq::test
