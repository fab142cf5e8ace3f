// Views, and the steps of a trainer, on the executor cpu: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#include <zoq/objective/objectives.hpp>
#include <zoq/train/on_cpu.hpp>
#include <zoq/view/on_cpu.hpp>

namespace zoq {

template class objective_choice<option_likelihood, next_token, accuracy, exact_match, f1, dpo>;

template void detail::move_values(const cpu&, const any_direction&, std::span<const query>,
                                  const value_order&, const float*, float*);
template class sparse_layout<cpu>;
template class laid_out_view<cpu, sparse_layout<cpu>>;
template laid_out_view<cpu, sparse_layout<cpu>> sparse_view(const cpu&,
                                                            std::span<const model_tensor>,
                                                            const mask&);
template laid_out_view<cpu, sparse_layout<cpu>> sparse_view(const cpu&,
                                                            std::span<const model_tensor>,
                                                            const delta&);
template class laid_out_view<cpu, any_layout<cpu>>;
template any_layout<cpu> layout_of(const cpu&, const any_view&, const view_target&);

template void detail::add_terms(const cpu&, const gradient&, const any_direction&, seed_t,
                                const value_order&, double, tensor_view<float, 2>);
template bool detail::all_finite(const cpu&, index_t, const float*);
template std::vector<float> detail::downloaded(const cpu&, const float*, index_t);
template void apply_optimizer(const cpu&, const sgd&, const value_order&, step_facts, const float*,
                              float*, float*);
template void apply_optimizer(const cpu&, const momentum&, const value_order&, step_facts,
                              const float*, float*, float*);
template void apply_optimizer(const cpu&, const adam&, const value_order&, step_facts, const float*,
                              float*, float*);
template void apply_optimizer(const cpu&, const adamax&, const value_order&, step_facts,
                              const float*, float*, float*);
template void apply_optimizer(const cpu&, const normalised&, const value_order&, step_facts,
                              const float*, float*, float*);
template void apply_optimizer(const cpu&, const polyak&, const value_order&, step_facts,
                              const float*, float*, float*);
template void apply_optimizer(const cpu&, const adalomo&, const value_order&, step_facts,
                              const float*, float*, float*);
template void apply_optimizer(const cpu&, const sign_descent&, const value_order&, step_facts,
                              const float*, float*, float*);
template void apply_optimizer(const cpu&, const any_optimizer&, const value_order&, step_facts,
                              const float*, float*, float*);
template void any_optimizer::apply(const cpu&, const value_order&, const step_facts&, const float*,
                                   float*, float*) const;
template bool hizoo::ask(const cpu&, const step_info&, hizoo::state&, std::span<const answer>,
                         std::vector<query>&) const;
template void hizoo::tell(const cpu&, const step_info&, hizoo::state&, std::span<const query>,
                          std::span<const answer>, gradient&) const;
template std::vector<float> hizoo::save(const cpu&, const hizoo::state&) const;
template void hizoo::load(const cpu&, std::span<const float>, hizoo::state&) const;
template bool svrg::ask(const cpu&, const step_info&, svrg::state&, std::span<const answer>,
                        std::vector<query>&) const;
template void svrg::tell(const cpu&, const step_info&, svrg::state&, std::span<const query>,
                         std::span<const answer>, gradient&) const;
template std::vector<float> svrg::save(const cpu&, const svrg::state&) const;
template void svrg::load(const cpu&, std::span<const float>, svrg::state&) const;
template bool any_estimator::ask(const cpu&, const step_info&, any_estimator::state&,
                                 std::span<const answer>, std::vector<query>&) const;
template void any_estimator::tell(const cpu&, const step_info&, any_estimator::state&,
                                  std::span<const query>, std::span<const answer>, gradient&) const;
template std::vector<float> any_estimator::save(const cpu&, const any_estimator::state&) const;
template void any_estimator::load(const cpu&, std::span<const float>, any_estimator::state&) const;

}  // namespace zoq
