// Moves the k values by an optimizer, whether it goes value by value or takes all of them at once.
//
//     zoq::apply_optimizer(exec, optimizer, order, facts, gradient, state, values);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/optim/optimizer.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// One step of value i, by an elementwise rule.
template <class Rule>
struct apply_rule {
  Rule rule;              // of the step: optimizer.at(facts)
  const float* gradient;  // [k]
  float* values;          // [k]
  float* state;           // [k, state_floats], or null
  int state_floats;
  ZOQ_HD void operator()(index_t i) const {
    values[i] = rule(values[i], gradient[i], state == nullptr ? nullptr : state + i * state_floats);
  }
};

/// x[i]^2, in double: to be summed.
struct square_of {
  const float* x;  // [n], of the loop
  ZOQ_HD double operator()(index_t i) const {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
};

/// One update. gradient, values: [k], state: [state_size_of(o, order)], in the executor's memory.
/// Throws on settings that make no sense. Cost: one pass over the values, and one before it for
/// those that need the gradient's norm.
template <executor X, optimizer O>
void apply_optimizer(const X& exec, const O& o, const value_order& order, step_facts facts,
                     const float* gradient, float* state, float* values) {
  if constexpr (elementwise_optimizer<O>) {
    if constexpr (O::needs_norm) {
      facts.gradient_norm2 = exec.sum(order.size, square_of{gradient});
    }
    const auto rule = o.at(facts);
    exec.for_each(order.size, apply_rule<std::decay_t<decltype(rule)>>{rule, gradient, values,
                                                                       state, O::state_floats});
  } else {
    o.apply(exec, order, facts, gradient, state, values);
  }
}

}  // namespace zoq
