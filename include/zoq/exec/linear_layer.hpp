// One of the products that a linear layer makes of the same inputs.
//
//     exec.linear(x, stack, {{wq, &added, q}, {wk, nullptr, k}});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/quant/formats.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// y = x W^T, and a view's values on top.
struct linear_layer {
  any_packed w;              // [O, C]
  const sparse_part* added;  // values for every branch of the stack, or none
  tensor_view<float, 2> y;   // [R, O]
};

/// y = x w^T of floats: never rounded by a compute policy. x: [R, C], w: [O, C], y: [R, O]. An executor
/// whose `linear` rounds nothing needs no `float_linear`.
template <class X>
void float_product(const X& exec, tensor_view<const float, 2> x, tensor_view<const float, 2> w,
                   tensor_view<float, 2> y) {
  if constexpr (requires { exec.float_linear(x, w, y); }) {
    exec.float_linear(x, w, y);
  } else {
    exec.linear(x, any_packed{float_matrix(w.data, w.shape[0], w.shape[1])}, y);
  }
}

}  // namespace zoq
