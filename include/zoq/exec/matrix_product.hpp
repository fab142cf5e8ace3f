// A product of two dense matrices in an executor's memory, by strides: what a linear layer, and both
// of its reverses, become once the weights are decoded.
//
//     y[i, j] = sum_k a(i, k) b(j, k)
//
//     matrix_product<float> forward{{x, C, 1}, {w, C, 1}, y, O, R, O, C};     // y = x W^T
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"

namespace zoq {

/// Element (i, k) is data[i * row + k * depth]. One of the two strides is 1, the other one is at least
/// the extent of the first.
template <class T>
struct matrix_operand {
  const T* data = nullptr;  // element (0, 0)
  index_t row = 0;          // stride of i
  index_t depth = 1;        // stride of k

  /// Element (i, k).
  [[nodiscard]] ZOQ_HD const T& at(index_t i, index_t k) const { return data[i * row + k * depth]; }
};

/// T is float or bf16; products of two bf16 are exact in float, and sums are float.
template <class T>
struct matrix_product {
  matrix_operand<T> a;  // [rows, depth]
  matrix_operand<T> b;  // [outputs, depth]
  float* y = nullptr;   // row i begins at i * y_row: overwritten
  index_t y_row = 0;    // at least `outputs`
  index_t rows = 0;     // of y
  index_t outputs = 0;  // of a row of y
  index_t depth = 0;    // that is summed over
};

}  // namespace zoq
