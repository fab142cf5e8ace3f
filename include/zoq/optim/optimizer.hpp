// concept optimizer: facts once a step, then one elementwise rule over the k values.
//
//     auto rule = optimizer.at(facts);
//     value = rule(value, gradient, state);    // state: state_floats floats of this value
//
// One that needs more than a value at a time, such as the rows and columns of a matrix, moves all
// of them itself:
//
//     optimizer.apply(exec, order, facts, gradient, state, values);
//
// Either way the state is the caller's: floats that start at zero, so that checkpoints have it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// What is known of a step before the values change.
struct step_facts {
  std::uint64_t step = 0;     // its number, from 0
  double schedule = 1;        // the schedule's factor for this step
  double loss = 0;            // at or near the values
  double gradient_norm2 = 0;  // squared norm of the estimate; only if the optimizer asks for it
};

/// Value by value. A rule that gives the same bits on every machine writes the multiply-adds of its
/// floats as std::fma, and leaves none for a compiler to make.
template <class O>
concept elementwise_optimizer = std::is_trivially_copyable_v<O> &&
    requires(const O& o, const step_facts& facts, float* state) {
  { O::name } -> std::convertible_to<std::string_view>;
  { O::state_floats } -> std::convertible_to<int>;
  { O::needs_norm } -> std::convertible_to<bool>;
  { o.at(facts)(1.0f, 1.0f, state) } -> std::same_as<float>;
};

/// All values at once, in their order. gradient, values: [k], state: [state_size(order)], in the
/// executor's memory.
template <class O>
concept whole_optimizer = std::is_trivially_copyable_v<O> &&
    requires(const O& o, const any_executor& exec, const value_order& order,
             const step_facts& facts, const float* gradient, float* state, float* values) {
  { O::name } -> std::convertible_to<std::string_view>;
  { o.state_size(order) } -> std::same_as<index_t>;
  { o.apply(exec, order, facts, gradient, state, values) } -> std::same_as<void>;
};

template <class O>
concept optimizer = elementwise_optimizer<O> || whole_optimizer<O>;

/// Floats of state for the k values of `order`.
template <optimizer O>
[[nodiscard]] index_t state_size_of(const O& o, const value_order& order) {
  if constexpr (elementwise_optimizer<O>) {
    return order.size * O::state_floats;
  } else {
    return o.state_size(order);
  }
}

namespace detail {

/// Throws, naming the optimizer, unless `x` is finite and at least `least`.
void require_setting(std::string_view optimizer, std::string_view setting, double x,
                     double least = 0);

/// Throws, naming the optimizer, unless `x` is a share that is kept of something: in [0, 1).
void require_kept(std::string_view optimizer, std::string_view setting, double x);

}  // namespace detail

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void require_setting(std::string_view optimizer, std::string_view setting, double x,
                              double least) {
  require(std::isfinite(x) && x >= least, optimizer, ": the ", setting, " is ", x,
          ", wanted a finite number of at least ", least);
}

ZOQ_BODY void require_kept(std::string_view optimizer, std::string_view setting, double x) {
  require(x >= 0 && x < 1, optimizer, ": ", setting, " is ", x, ", wanted a number in [0, 1)");
}

}  // namespace detail

}  // namespace zoq

#endif
