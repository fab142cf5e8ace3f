// The scores on the executor `cpu`, which zoq::kernels has compiled: as model/on_cpu.hpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/model/on_cpu.hpp"
#include "zoq/score/choose_places.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/score/forward_curvature.hpp"
#include "zoq/score/hessian_trace.hpp"
#include "zoq/score/loss_sensitivity.hpp"
#include "zoq/score/moved_tensor.hpp"

#ifdef ZOQ_COMPILED_KERNELS

namespace zoq {

ZOQ_COMPILED class moved_tensor<cpu>;
ZOQ_COMPILED class fisher<cpu, decoder, text_samples>;
ZOQ_COMPILED class loss_sensitivity<cpu, decoder, text_samples>;
ZOQ_COMPILED mask choose_places(const cpu&, const decoder&, const score_choice&, samples_ref,
                                score_loss<cpu>, const score_progress&, score_finish);

namespace detail {

ZOQ_COMPILED std::vector<tensor_score> mean_curvatures(const cpu&, std::span<const model_tensor>,
                                                       function_ref<double(const branch_parts&)>,
                                                       const hessian_trace_options&,
                                                       function_ref<void(index_t, index_t)>);
ZOQ_COMPILED void visit_curvatures(const cpu&, std::span<const model_tensor>,
                                   function_ref<double(const branch_parts&)>,
                                   const forward_curvature_options&,
                                   function_ref<void(index_t, index_t)>, gradient_visitor);

}  // namespace detail
}  // namespace zoq

#endif
