// What a trainer does on the executor cpu, compiled in zoq::kernels where that is linked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/optim/apply.hpp"
#include "zoq/optim/optimizers.hpp"
#include "zoq/train/step.hpp"

#ifdef ZOQ_COMPILED_KERNELS

namespace zoq {

ZOQ_COMPILED void detail::add_terms(const cpu&, const gradient&, const any_direction&, seed_t,
                                    const value_order&, double, tensor_view<float, 2>);
ZOQ_COMPILED bool detail::all_finite(const cpu&, index_t, const float*);
ZOQ_COMPILED std::vector<float> detail::downloaded(const cpu&, const float*, index_t);
ZOQ_COMPILED void apply_optimizer(const cpu&, const sgd&, const value_order&, step_facts,
                                  const float*, float*, float*);
ZOQ_COMPILED void apply_optimizer(const cpu&, const any_optimizer&, const value_order&, step_facts,
                                  const float*, float*, float*);
ZOQ_COMPILED void any_optimizer::apply(const cpu&, const value_order&, const step_facts&,
                                       const float*, float*, float*) const;
ZOQ_COMPILED bool any_estimator::ask(const cpu&, const step_info&, any_estimator::state&,
                                     std::span<const answer>, std::vector<query>&) const;
ZOQ_COMPILED void any_estimator::tell(const cpu&, const step_info&, any_estimator::state&,
                                      std::span<const query>, std::span<const answer>,
                                      gradient&) const;
ZOQ_COMPILED std::vector<float> any_estimator::save(const cpu&, const any_estimator::state&) const;
ZOQ_COMPILED void any_estimator::load(const cpu&, std::span<const float>,
                                      any_estimator::state&) const;

}  // namespace zoq

#endif
