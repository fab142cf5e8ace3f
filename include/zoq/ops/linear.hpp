// linear: y = x W^T, with W quantised, and the view's additions in float beside it.
//
//     y[r, o] = sum_c x[r, c] W[o, c]  +  sum_j value[b, j] x[r, column[j]]  over j with row[j] = o
//
// for every row r of branch b. The second sum is the overlay: k float values on an unchanged 4-bit
// base; no entry, no change of a bit. Zeroth-order tuning of sparse values: arXiv 2406.02913.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// Adds the overlay of one row of x to one row of y.
struct overlay_row {
  sparse_part part;
  tensor_view<const float, 2> x;  // [R, C]
  tensor_view<float, 2> y;        // [R, O]
  index_t rows_per_branch;

  ZOQ_HD void operator()(index_t r) const {
    const index_t n = part.row.shape[0];
    const float* value = part.values.data + r / rows_per_branch * part.values.shape[1] + part.first;
    const float* in = x.data + r * x.shape[1];
    float* out = y.data + r * y.shape[1];
    for (index_t j = 0; j < n;) {  // entries of one output stand together
      const std::int32_t o = part.row.data[j];
      float sum = 0;
      for (; j < n && part.row.data[j] == o; ++j) {
        sum += value[j] * in[part.column.data[j]];
      }
      out[o] += sum;
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
    exec.for_each(x.shape[0], overlay_row{part, x, y, x.shape[0] / branches});
  }
}

}  // namespace zoq
