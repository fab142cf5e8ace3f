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

}  // namespace zoq
