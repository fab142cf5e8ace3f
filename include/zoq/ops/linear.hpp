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
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/formats.hpp"
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

/// y = x W^T + the parts. x: [branches * T, C], w: [O, C], y: [branches * T, O].
/// Throws when shapes disagree; `tensor` names the weight in the message. 2 R C O operations, the
/// overlay 2 R n more.
template <executor X>
void linear(const X& exec, tensor_view<const float, 2> x, const any_packed& w, const parts& added,
            index_t branches, tensor_view<float, 2> y, std::string_view tensor = "weight") {
  require(x.shape[1] == w.columns(), "linear: x has ", x.shape[1], " columns, ", tensor, " needs ",
          w.columns());
  require(y.shape[0] == x.shape[0] && y.shape[1] == w.rows(), "linear: y is ", y.shape[0], " x ",
          y.shape[1], ", ", tensor, " makes ", x.shape[0], " x ", w.rows());
  exec.linear(x, w, y);
  if (added.sparse.has_value() && added.sparse->row.shape[0] != 0) {
    const sparse_part& part = *added.sparse;
    require(part.values.shape[0] == branches && x.shape[0] % branches == 0, "linear: ", tensor,
            " has values for ", part.values.shape[0], " branches, x has ", x.shape[0], " rows for ",
            branches);
    const overlay_rows overlay{part, x, y, x.shape[0] / branches};
    exec.for_each(branches * overlay.blocks(), overlay);
  }
}

}  // namespace zoq
