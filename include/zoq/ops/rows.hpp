// Rows and stretches of columns: a bias on every row, columns picked out, and rows put in before every
// sequence.
//
//     zoq::add_bias(exec, bias, y);                           // y[r, :] += bias
//     zoq::take_columns(exec, qkv, {}, branches, 0, q);       // q[r, :] = qkv[r, 0 ...]
//     zoq::put_rows(exec, values, 8, branches, x);            // the first 8 rows of every branch
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// y[r] += bias for a run of one row.
template <index_t Length>
struct add_bias_run {
  tensor_view<const float, 2> bias;  // [G, O]
  tensor_view<float, 2> y;           // [R, O]
  /// Of a row.
  [[nodiscard]] ZOQ_HD index_t runs() const { return (y.shape[1] + Length - 1) / Length; }
  ZOQ_HD void operator()(index_t run) const {
    const index_t columns = y.shape[1];
    const index_t r = run / runs();
    const float* from =
        bias.data + (bias.shape[0] == 1 ? 0 : r / (y.shape[0] / bias.shape[0]) * columns);
    float* to = y.data + r * columns;
    const index_t begin = run % runs() * Length;
    const index_t end = begin + Length < columns ? begin + Length : columns;
    for (index_t c = begin; c < end; ++c) {
      to[c] += from[c];
    }
  }
};

/// y[r, :] += the row's bias. y: [R, O]; bias: [G, O], of which each is that of R / G rows one after
/// another: one for every branch, or one for all. Throws when shapes disagree.
template <executor X>
void add_bias(const X& exec, tensor_view<const float, 2> bias, tensor_view<float, 2> y) {
  require(bias.shape[1] == y.shape[1] && bias.shape[0] > 0 && y.shape[0] % bias.shape[0] == 0,
          "add_bias: ", bias.shape[0], " x ", bias.shape[1], " to ", y.shape[0], " x ", y.shape[1]);
  const add_bias_run<run_length_on<X>> add{bias, y};
  exec.for_each(y.shape[0] * add.runs(), add);
}

/// to[i] <- from[row of i, first ...] for a run of one row.
template <index_t Length>
struct take_columns_run {
  tensor_view<const float, 2> from;  // [branches * T, F]
  const std::int32_t* row_of;        // [Q], or null: all rows
  index_t rows,                      // T
      queries,                       // Q
      first;                         // column
  tensor_view<float, 2> to;          // [branches * Q, O]
  /// Of a row.
  [[nodiscard]] ZOQ_HD index_t runs() const { return (to.shape[1] + Length - 1) / Length; }
  ZOQ_HD void operator()(index_t run) const {
    const index_t columns = to.shape[1];
    const index_t i = run / runs();
    const index_t row = row_of == nullptr ? i : i / queries * rows + row_of[i % queries];
    const index_t begin = run % runs() * Length;
    const index_t end = begin + Length < columns ? begin + Length : columns;
    for (index_t c = begin; c < end; ++c) {
      to.data[i * columns + c] = from.data[row * from.shape[1] + first + c];
    }
  }
};

/// Columns from `first` on, of the rows `row_of` of every branch or, with a null view, of all rows.
/// from: [branches * T, F], row_of: [Q], to: [branches * Q, O]. Throws when shapes disagree.
template <executor X>
void take_columns(const X& exec, tensor_view<const float, 2> from,
                  tensor_view<const std::int32_t, 1> row_of, index_t branches, index_t first,
                  tensor_view<float, 2> to) {
  const index_t rows = from.shape[0] / branches;
  const index_t queries = row_of.data == nullptr ? rows : row_of.shape[0];
  require(from.shape[0] % branches == 0 && to.shape[0] == branches * queries && first >= 0 &&
              first + to.shape[1] <= from.shape[1],
          "take_columns: columns from ", first, " on of ", from.shape[0], " x ", from.shape[1],
          " to ", to.shape[0], " x ", to.shape[1], " for ", queries, " rows of ", branches,
          " branches");
  const take_columns_run<run_length_on<X>> take{from, row_of.data, rows, queries, first, to};
  exec.for_each(to.shape[0] * take.runs(), take);
}

/// x[b * T + r] <- row r of branch b's values for a run of one row.
template <index_t Length>
struct put_rows_run {
  part_values values;       // [P, C]
  index_t count,            // P
      rows;                 // T
  tensor_view<float, 2> x;  // [branches * T, C]
  /// Of a row.
  [[nodiscard]] ZOQ_HD index_t runs() const { return (x.shape[1] + Length - 1) / Length; }
  ZOQ_HD void operator()(index_t run) const {
    const index_t columns = x.shape[1];
    const index_t i = run / runs();
    const index_t branch = i / count, r = i % count;
    const float* from = values.at(branch) + r * columns;
    float* to = x.data + (branch * rows + r) * columns;
    const index_t begin = run % runs() * Length;
    const index_t end = begin + Length < columns ? begin + Length : columns;
    for (index_t c = begin; c < end; ++c) {
      to[c] = from[c];
    }
  }
};

/// The first `count` rows of every branch become the branch's values: [P, C]. x: [branches * T, C].
/// Throws when shapes disagree.
template <executor X>
void put_rows(const X& exec, const part_values& values, index_t count, index_t branches,
              tensor_view<float, 2> x) {
  const index_t have = values.all.shape[0];
  require(x.shape[0] % branches == 0 && count <= x.shape[0] / branches &&
              (have == 1 || have == branches) &&
              values.first + count * x.shape[1] <= values.all.shape[1],
          "put_rows: ", count, " rows of ", x.shape[1], " in ", x.shape[0], " rows of ", branches,
          " branches, from ", have, " x ", values.all.shape[1], " values at ", values.first);
  const put_rows_run<run_length_on<X>> put{values, count, x.shape[0] / branches, x};
  exec.for_each(branches * count * put.runs(), put);
}

}  // namespace zoq
