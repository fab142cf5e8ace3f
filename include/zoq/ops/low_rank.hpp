// add_low_rank: y += scale (x A_b^T) B_b^T for the rows of every branch b, in float.
//
//     zoq::add_low_rank(exec, x, *parts.low_rank, stack, y);
//
// Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. B of zeros adds
// zeros.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// y[r, o] += scale * sum_j h[r, j] B_b[o, j]. One item is a short run of outputs of one row.
struct add_low_rank_run {
  static constexpr index_t run = 16;  // outputs

  low_rank_part part;       // of the weight
  const float* h;           // [branches * T, R]
  tensor_view<float, 2> y;  // [branches * T, O]
  index_t rows_per_branch;  // T

  [[nodiscard]] ZOQ_HD index_t runs() const { return (y.shape[1] + run - 1) / run; }  // of a row
  [[nodiscard]] ZOQ_HD index_t items() const { return y.shape[0] * runs(); }          // in all
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / runs();
    const index_t begin = i % runs() * run;
    const index_t end = begin + run < y.shape[1] ? begin + run : y.shape[1];
    const float* b = part.b.at(row / rows_per_branch);
    const float* in = h + row * part.rank;
    for (index_t o = begin; o < end; ++o) {
      float sum = 0;
      for (index_t j = 0; j < part.rank; ++j) {
        sum += in[j] * b[o * part.rank + j];
      }
      y.data[row * y.shape[1] + o] += part.scale * sum;
    }
  }
};

/// x: [branches * T, C], y: [branches * T, O]. 2 R (C + O) operations a row; uses the executor's
/// scratch for [branches * T, R] floats.
template <executor X>
void add_low_rank(const X& exec, tensor_view<const float, 2> x, const low_rank_part& part,
                  const branch_stack& stack, tensor_view<float, 2> y) {
  const index_t rows = x.shape[0] / stack.count;
  float* h = exec.scratch(x.shape[0] * part.rank);
  for (index_t b = 0; b < stack.count; ++b) {
    float_product(exec, x.rows(b * rows, rows), {part.a.at(b), {part.rank, x.shape[1]}},
                  {h + b * rows * part.rank, {rows, part.rank}});
  }
  const add_low_rank_run task{part, h, y, rows};
  exec.for_each(task.items(), task);
}

}  // namespace zoq
