// concept optimizer: facts once a step, then one elementwise rule over the k values.
//
//     auto rule = optimizer.at(facts);
//     value = rule(value, gradient, state);    // state: state_floats floats of this value
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace zoq {

/// What is known of a step before the values change.
struct step_facts {
  std::uint64_t step = 0;
  double schedule = 1;  // the schedule's factor for this step
  double loss = 0;
  double gradient_norm2 = 0;  // squared norm of the estimate; only if the optimizer asks for it
};

template <class O>
concept optimizer = std::is_trivially_copyable_v<O> &&
    requires(const O& o, const step_facts& facts, float* state) {
  { O::name } -> std::convertible_to<std::string_view>;
  { O::state_floats } -> std::convertible_to<int>;
  { O::needs_norm } -> std::convertible_to<bool>;
  { o.at(facts)(1.0f, 1.0f, state) } -> std::same_as<float>;
};

}  // namespace zoq
