// concept estimator: which losses it wants, and the gradient it makes of them.
//
//     while (e.ask(exec, at, state, answers, wanted)) { ... answer them ... }
//     e.tell(exec, at, state, asked, answers, gradient);
//
// `ask` comes in rounds: it sees all answers so far, appends the queries of the next round, and
// returns false when it knows enough. `tell` is pure in its arguments, so a recorded run replays
// without the model. State is a value of the estimator's own type, kept by the caller. One that has
// memory can be saved and loaded, so that a resumed run goes on to the same bits.
//
// For people and plans an estimator may say `summary`, `paper` and `cost` (texts), `settings`
// (core/settings.hpp) and `state_bytes(k)`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

struct no_state {};

template <class E, class X>
concept estimator = executor<X> && std::copyable<E> &&
    requires(const E& e, const X& exec, typename E::state& state, const step_info& at,
             std::span<const query> asked, std::span<const answer> answers,
             std::vector<query>& wanted, gradient& g) {
  { E::name } -> std::convertible_to<std::string_view>;
  { e.ask(exec, at, state, answers, wanted) } -> std::same_as<bool>;
  { e.tell(exec, at, state, asked, answers, g) } -> std::same_as<void>;
};

/// An estimator whose later steps depend on its state: between two steps, `save` gives the state as
/// floats on the host, and `load` makes the state of them again. Without the two there is nothing to
/// save.
template <class E, class X>
concept saved_estimator = estimator<E, X> &&
    requires(const E& e, const X& exec, const typename E::state& state, typename E::state& into,
             std::span<const float> saved) {
  { e.save(exec, state) } -> std::same_as<std::vector<float>>;
  { e.load(exec, saved, into) } -> std::same_as<void>;
};

/// The state as floats, or none where the estimator has nothing to save.
template <class E, executor X>
std::vector<float> save_state(const E& e, const X& exec, const typename E::state& state) {
  if constexpr (saved_estimator<E, X>) {
    return e.save(exec, state);
  } else {
    return {};
  }
}

/// Restores what save_state gave. Throws when that cannot be a state of this estimator.
template <class E, executor X>
void load_state(const E& e, const X& exec, std::span<const float> saved, typename E::state& state) {
  if constexpr (saved_estimator<E, X>) {
    e.load(exec, saved, state);
  } else {
    require(saved.empty(), E::name, ": ", saved.size(), " floats of state, it has none");
  }
}

/// Bytes that its state takes in the executor's memory, for k values.
template <class E>
index_t state_bytes_of(const E& e, index_t k) {
  if constexpr (requires { e.state_bytes(k); }) {
    return e.state_bytes(k);
  } else {
    return 0;
  }
}

}  // namespace zoq
