// concept estimator: which losses it wants, and the gradient it makes of them.
//
//     while (e.ask(exec, at, state, answers, wanted)) { ... answer them ... }
//     e.tell(exec, at, state, asked, answers, gradient);
//
// `ask` comes in rounds: it sees all answers so far, appends the queries of the next round, and
// returns false when it knows enough. `tell` is pure in its arguments, so a recorded run replays
// without the model. State is a value of the estimator's own type, kept by the caller.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <span>
#include <string_view>
#include <vector>

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

}  // namespace zoq
