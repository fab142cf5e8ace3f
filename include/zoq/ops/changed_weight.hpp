// The weight of one branch, where a view changes it: W_b = (1 + factor_b) * decode(W) + offset_b, as
// floats, a run of one row at a time.
//
//     const changed_weight<S> w{packed, weight_change(added)};
//     w.decode(row, run, branch, out);                  // out: up to [width] values
//     exec.for_each(task.items(), task);                // changed_rows<S>: rows of many branches
//
// A factor's value is its offset from 1: at zero, nothing changes by a bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/packed_view.hpp"

namespace zoq {

/// The parts that change a weight, as function objects take them. A part that is not there has no data.
struct weight_change {
  part_values factor,  // [O, C / block]
      offset;          // [O, C]
  index_t block = 1;   // columns of a factor

  weight_change() = default;
  /// Of one tensor's parts; others than these two are ignored.
  explicit weight_change(const parts& added) {
    if (added.factor.has_value()) {
      factor = added.factor->factor;
      block = added.factor->block;
    }
    if (added.offset.has_value()) {
      offset = added.offset->offset;
    }
  }
};

template <quant_scheme S>
struct changed_weight {
  static constexpr index_t blocks = S::block_size >= 32 ? 1 : 32 / S::block_size;  // of a run
  static constexpr index_t width = blocks * S::block_size;  // columns of a run

  packed_view<S> w;      // [O, C]
  weight_change change;  // of every branch

  /// Of a row; the last may be short.
  [[nodiscard]] ZOQ_HD index_t runs() const { return (w.shape[1] + width - 1) / width; }

  /// Columns [run * width, ...) of row `o` in branch `branch`, to the same columns of `row` [C].
  ZOQ_HD void decode(index_t o, index_t run, index_t branch, float* row) const {
    const index_t columns = w.shape[1];
    const index_t begin = run * width;
    const index_t end = begin + width < columns ? begin + width : columns;
    for (index_t c = begin; c < end; c += S::block_size) {
      S::decode(w.row(o), w.block(o, c / S::block_size), row + c);
    }
    if (change.factor.all.data != nullptr) {
      const float* factor = change.factor.at(branch) + o * (columns / change.block);
      for (index_t c = begin; c < end;) {
        const index_t number = c / change.block;
        const index_t next = (number + 1) * change.block;
        for (; c < end && c < next; ++c) {
          row[c] += factor[number] * row[c];
        }
      }
    }
    if (change.offset.all.data != nullptr) {
      const float* offset = change.offset.at(branch) + o * columns;
      for (index_t c = begin; c < end; ++c) {
        row[c] += offset[c];
      }
    }
  }
};

/// Rows [first, first + rows) of the weight in branches from `branch` on. One item is a run of a row.
template <quant_scheme S>
struct changed_rows {
  changed_weight<S> of;  // [O, C]
  index_t branch,        // the first one
      branches;          // how many
  index_t first,         // row
      rows;              // how many, of every branch
  float* out;            // [branches, rows, C]

  [[nodiscard]] ZOQ_HD index_t items() const { return branches * rows * of.runs(); }  // in all
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / of.runs();  // of all branches
    of.decode(first + row % rows, i % of.runs(), branch + row / rows, out + row * of.w.shape[1]);
  }
};

}  // namespace zoq
