// linear: y = x W^T, with W quantised, and the view's additions in float beside it.
//
//     y[r, o] = sum_c x[r, c] W[o, c]  +  sum_j value[b, j] x[r, column[j]]  over j with row[j] = o
//
// for every row r of branch b. The second sum is the overlay: k float values on an unchanged 4-bit
// base; no entry, no change of a bit. Zeroth-order tuning of sparse values: arXiv 2406.02913.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// Adds the overlay to a few rows of y. An entry's place and value are read once for all of them, and
/// their sums do not wait for each other. Every row's sums have one order, whatever rows are beside it.
struct overlay_rows {
  static constexpr index_t together = 8;

  sparse_part part;
  tensor_view<const float, 2> x;  // [branches * T, C]
  tensor_view<float, 2> y;        // [branches * T, O]
  index_t rows_per_branch;        // T

  /// Blocks of each branch.
  [[nodiscard]] ZOQ_HD index_t blocks() const {
    return (rows_per_branch + together - 1) / together;
  }

  ZOQ_HD void operator()(index_t i) const {
    const index_t branch = i / blocks();
    const index_t first = i % blocks() * together;
    const index_t row = branch * rows_per_branch + first;
    const float* value = part.values.data + branch * part.values.shape[1] + part.first;
    if (rows_per_branch - first >= together) {
      add<together>(value, row);
    } else {
      for (index_t r = row; r < (branch + 1) * rows_per_branch; ++r) {
        add<1>(value, r);
      }
    }
  }

 private:
  template <index_t Rows>
  ZOQ_HD void add(const float* value, index_t row) const {
    const index_t n = part.row.shape[0];
    const index_t inputs = x.shape[1], outputs = y.shape[1];
    const float* in = x.data + row * inputs;
    float* out = y.data + row * outputs;
    for (index_t j = 0; j < n;) {  // entries of one output stand together
      const std::int32_t o = part.row.data[j];
      float sum[static_cast<std::size_t>(Rows)] = {};
      for (; j < n && part.row.data[j] == o; ++j) {
        const float* column = in + part.column.data[j];
        for (index_t r = 0; r < Rows; ++r) {
          sum[r] += value[j] * column[r * inputs];
        }
      }
      for (index_t r = 0; r < Rows; ++r) {
        out[r * outputs + o] += sum[r];
      }
    }
  }
};

/// One of the layers that share their inputs: y = x W^T + the parts.
struct linear_target {
  any_packed w;                        // [O, C]
  parts added;                         // of this weight
  tensor_view<float, 2> y;             // [branches * T, O]
  std::string_view tensor = "weight";  // the weight's name, for messages
};

/// A few of them.
struct linear_targets {
  static constexpr index_t most = 4;
  linear_target at[static_cast<std::size_t>(most)];
  index_t count = 0;

  void add(const linear_target& target) {
    require(count < most, "linear: more than ", most, " layers of the same inputs");
    at[count++] = target;
  }
};

/// All targets from the same x: [branches * T, C]. Throws when shapes disagree. 2 R C O operations for
/// each, the overlay 2 R n more.
template <executor X>
void linear(const X& exec, tensor_view<const float, 2> x, const branch_stack& stack,
            const linear_targets& targets) {
  require(
      stack.count > 0 && x.shape[0] % stack.count == 0 && (!stack.pairs || stack.count % 2 == 0),
      "linear: x has ", x.shape[0], " rows for ", stack.count, " branches");
  linear_layer layers[static_cast<std::size_t>(linear_targets::most)];
  for (index_t i = 0; i < targets.count; ++i) {
    const linear_target& t = targets.at[i];
    require(x.shape[1] == t.w.columns(), "linear: x has ", x.shape[1], " columns, ", t.tensor,
            " needs ", t.w.columns());
    require(t.y.shape[0] == x.shape[0] && t.y.shape[1] == t.w.rows(), "linear: y is ", t.y.shape[0],
            " x ", t.y.shape[1], ", ", t.tensor, " makes ", x.shape[0], " x ", t.w.rows());
    layers[i] = {t.w, nullptr, t.y};
    if (t.added.sparse.has_value() && t.added.sparse->row.shape[0] != 0) {
      require(t.added.sparse->values.shape[0] == stack.count, "linear: ", t.tensor,
              " has values for ", t.added.sparse->values.shape[0], " branches, x has rows for ",
              stack.count);
      layers[i].added = &*t.added.sparse;
    }
  }
  const std::span<const linear_layer> all(layers, static_cast<std::size_t>(targets.count));
  if constexpr (requires { exec.linear(x, stack, all); }) {
    exec.linear(x, stack, all);
  } else {
    for (const linear_layer& layer : all) {
      exec.linear(x, layer.w, layer.y);
      if (layer.added != nullptr) {
        const overlay_rows overlay{*layer.added, x, layer.y, x.shape[0] / stack.count};
        exec.for_each(stack.count * overlay.blocks(), overlay);
      }
    }
  }
}

/// One target alone.
template <executor X>
void linear(const X& exec, tensor_view<const float, 2> x, const any_packed& w, const parts& added,
            const branch_stack& stack, tensor_view<float, 2> y,
            std::string_view tensor = "weight") {
  linear_targets one;
  one.add({w, added, y, tensor});
  linear(exec, x, stack, one);
}

}  // namespace zoq
