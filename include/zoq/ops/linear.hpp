// linear: y = x W^T, with W quantised, and the view's additions in float beside it.
//
//     y[r, o] = sum_c x[r, c] W[o, c]  +  sum_j value[b, j] x[r, column[j]]  over j with row[j] = o
//
// for every row r of branch b. The second sum is the overlay: k float values on an unchanged 4-bit
// base; no entry, no change of a bit. Zeroth-order tuning of sparse values: arXiv 2406.02913.
// Low-rank parts: low_rank.hpp. Where a view changes the weight itself (offsets, factors), a branch is
// multiplied by its own weight, decoded to floats (changed_weight.hpp): no policy rounds it, as what
// rounding does to two weights would hide the small difference between them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/ops/changed_weight.hpp"
#include "zoq/ops/low_rank.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// Adds the overlay to a few rows of y. An entry's place and value are read once for all of them, and
/// their sums do not wait for each other. Every row's sums have one order, whatever rows are beside it.
struct overlay_rows {
  static constexpr index_t together = 8;  // rows at once

  sparse_part part;               // with values for every branch
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

/// A few layers that share their inputs.
struct linear_targets {
  static constexpr index_t most = 4;                 // of them
  linear_target at[static_cast<std::size_t>(most)];  // [count]
  index_t count = 0;                                 // so far

  /// Throws when there are `most` already.
  void add(const linear_target& target);
};

/// Throws unless all parts of a target have values for this many branches; those of a sparse part that
/// has no entries are not looked at.
void require_branches(const linear_target& t, index_t branches);

/// Columns of a matrix, from a matrix that has only these.
struct place_columns {
  const float* from;         // [R, n]
  index_t first,             // column in `to`
      count;                 // n
  tensor_view<float, 2> to;  // [R, O]
  ZOQ_HD void operator()(index_t i) const {
    to.data[i / count * to.shape[1] + first + i % count] = from[i];
  }
};

/// y = x W_b^T of a weight that the view changes, branch by branch, in slices of outputs. The scratch
/// holds a slice of weights (16 MB, or one row), and of outputs where there are several slices.
template <executor X>
void linear_by_branch(const X& exec, tensor_view<const float, 2> x, const branch_stack& stack,
                      const linear_target& t) {
  constexpr index_t slice = index_t{1} << 22;  // weights
  const weight_change change(t.added);
  const bool apart = std::max(change.factor.all.shape[0], change.offset.all.shape[0]) > 1;
  const index_t branches = apart ? stack.count : 1;  // with weights of their own
  const index_t rows = x.shape[0] / branches, columns = x.shape[1], outputs = t.y.shape[1];
  const index_t most = std::clamp<index_t>(slice / columns, 1, outputs);
  float* weights = exec.scratch(most * columns + (most < outputs ? rows * most : 0));
  for (index_t b = 0; b < branches; ++b) {
    const tensor_view<float, 2> y = t.y.rows(b * rows, rows);
    for (index_t first = 0; first < outputs; first += most) {
      const index_t some = std::min(most, outputs - first);
      t.w.visit([&]<class S>(const packed_view<S>& packed) {
        const changed_rows<S> task{{packed, change}, b, 1, first, some, weights};
        exec.for_each(task.items(), task);
      });
      const tensor_view<float, 2> out =
          most < outputs ? tensor_view<float, 2>{weights + most * columns, {rows, some}} : y;
      float_product(exec, x.rows(b * rows, rows), {weights, {some, columns}}, out);
      if (most < outputs) {
        exec.for_each(rows * some, place_columns{out.data, first, some, y});
      }
    }
  }
}

/// All targets from the same x: [branches * T, C]. Throws when shapes disagree. 2 R C O operations for
/// each, the overlay 2 R n more.
template <executor X>
void linear(const X& exec, tensor_view<const float, 2> x, const branch_stack& stack,
            const linear_targets& targets) {
  require(
      stack.count > 0 && x.shape[0] % stack.count == 0 && (!stack.pairs || stack.count % 2 == 0),
      "linear: x has ", x.shape[0], " rows for ", stack.count, " branches");
  linear_layer layers[static_cast<std::size_t>(linear_targets::most)];
  std::size_t together = 0;  // of weights that all branches share
  for (index_t i = 0; i < targets.count; ++i) {
    const linear_target& t = targets.at[i];
    require(x.shape[1] == t.w.columns(), "linear: x has ", x.shape[1], " columns, ", t.tensor,
            " needs ", t.w.columns());
    require(t.y.shape[0] == x.shape[0] && t.y.shape[1] == t.w.rows(), "linear: y is ", t.y.shape[0],
            " x ", t.y.shape[1], ", ", t.tensor, " makes ", x.shape[0], " x ", t.w.rows());
    require_branches(t, stack.count);
    if (!t.added.changes_weight()) {
      const bool sparse = t.added.sparse.has_value() && t.added.sparse->row.shape[0] != 0;
      layers[together++] = {t.w, sparse ? &*t.added.sparse : nullptr, t.y};
    }
  }
  const auto add_overlay = [&](const sparse_part& part, tensor_view<float, 2> y) {
    const overlay_rows overlay{part, x, y, x.shape[0] / stack.count};
    exec.for_each(stack.count * overlay.blocks(), overlay);
  };
  const std::span<const linear_layer> all(layers, together);
  if constexpr (requires { exec.linear(x, stack, all); }) {
    if (!all.empty()) {
      exec.linear(x, stack, all);
    }
  } else {
    for (const linear_layer& layer : all) {
      exec.linear(x, layer.w, layer.y);
      if (layer.added != nullptr) {
        add_overlay(*layer.added, layer.y);
      }
    }
  }
  for (index_t i = 0; i < targets.count; ++i) {
    const linear_target& t = targets.at[i];
    if (t.added.changes_weight()) {
      linear_by_branch(exec, x, stack, t);
      if (t.added.sparse.has_value()) {
        add_overlay(*t.added.sparse, t.y);
      }
    }
    if (t.added.low_rank.has_value()) {
      add_low_rank(exec, x, *t.added.low_rank, stack, t.y);
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

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY void linear_targets::add(const linear_target& target) {
  require(count < most, "linear: more than ", most, " layers of the same inputs");
  at[count++] = target;
}

ZOQ_BODY void require_branches(const linear_target& t, index_t branches) {
  const auto check = [&](index_t found, bool one_will_do) {
    require(found == branches || (one_will_do && found == 1), "linear: ", t.tensor,
            " has values for ", found, " branches, x has rows for ", branches);
  };
  if (t.added.sparse.has_value() && t.added.sparse->row.shape[0] != 0) {
    check(t.added.sparse->values.shape[0], false);
  }
  if (t.added.low_rank.has_value()) {
    check(t.added.low_rank->a.all.shape[0], true);
    check(t.added.low_rank->b.all.shape[0], true);
  }
  if (t.added.offset.has_value()) {
    check(t.added.offset->offset.all.shape[0], true);
  }
  if (t.added.factor.has_value()) {
    check(t.added.factor->factor.all.shape[0], true);
    require(t.added.factor->block > 0 && t.w.columns() % t.added.factor->block == 0,
            "linear: factors of ", t.added.factor->block, " columns do not divide the ",
            t.w.columns(), " of ", t.tensor);
  }
}

}  // namespace zoq

#endif
