// The views of the executor cpu, compiled in zoq::kernels where that is linked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/exec/cpu.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/layouts.hpp"
#include "zoq/view/sparse.hpp"

#ifdef ZOQ_COMPILED_KERNELS

namespace zoq {

ZOQ_COMPILED void detail::move_values(const cpu&, const any_direction&, std::span<const query>,
                                      const value_order&, const float*, float*);
ZOQ_COMPILED class sparse_layout<cpu>;
ZOQ_COMPILED class laid_out_view<cpu, sparse_layout<cpu>>;
ZOQ_COMPILED laid_out_view<cpu, sparse_layout<cpu>> sparse_view(const cpu&,
                                                                std::span<const model_tensor>,
                                                                const mask&);
ZOQ_COMPILED laid_out_view<cpu, sparse_layout<cpu>> sparse_view(const cpu&,
                                                                std::span<const model_tensor>,
                                                                const delta&);
ZOQ_COMPILED class laid_out_view<cpu, any_layout<cpu>>;
ZOQ_COMPILED any_layout<cpu> layout_of(const cpu&, const any_view&, const view_target&);

}  // namespace zoq

#endif
