// The CPU kernels of every format and instruction set, compiled once: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#define ZOQ_BODIES 1
#define ZOQ_BODY inline  // the bodies of functions that are no templates are zoq.cpp's

#include <zoq/exec/products.hpp>

namespace zoq::detail {

template workspace_bytes workspace_of<>(instruction_set, compute, index_t, index_t, index_t);
template void multiply_forward<>(const product_settings&, tensor_view<const float, 2>,
                                 const branch_stack&, std::span<const linear_layer>);
template void multiply_to_input<>(const product_settings&, tensor_view<const float, 2>,
                                  const any_packed&, tensor_view<float, 2>);
template void multiply_to_weight<>(const product_settings&, tensor_view<const float, 2>,
                                   tensor_view<const float, 2>, tensor_view<float, 2>);
template void answer_attention<>(const workers&, instruction_set, const attention_task&);

}  // namespace zoq::detail
