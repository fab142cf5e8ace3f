// What an estimator asks for in a step, found without a model: for plans and defaults.
//
//     zoq::for_each_round(estimator, [&](std::span<const zoq::query> asked) { ... });
//     zoq::asks_for_pairs(estimator)          // true for spsa, false for leave_one_out
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "zoq/core/function_ref.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// What sees the queries of a round.
using see_queries = function_ref<void(std::span<const query>)>;

namespace detail {
/// for_each_round below, for all estimators: the rounds of so many steps.
void take_rounds(
    std::uint64_t steps,
    function_ref<bool(const step_info&, std::span<const answer>, std::vector<query>&)> ask,
    see_queries f);
}  // namespace detail

/// Calls f(asked) for each round of queries of a step, the estimator being told losses 1, 2, 3, ...
/// One with a state may ask for other points at its first step than later: then the second step's
/// rounds follow. Throws what the estimator throws on its settings.
template <class E>
requires estimator<E, any_executor>
void for_each_round(const E& e, see_queries f) {
  typename E::state state{};
  detail::take_rounds(
      state_bytes_of(e, 1) > 0 ? 2 : 1,
      [&](const step_info& at, std::span<const answer> answers, std::vector<query>& wanted) {
        return e.ask(any_executor{}, at, state, answers, wanted);
      },
      f);
}

/// True when every loss is asked for beside that of the opposite point. Only the two points of a
/// pair are rounded together (branch_stack), so the losses of others are compared by what rounding
/// leaves of them: next to nothing in i8 (docs/performance.md).
template <class E>
bool asks_for_pairs(const E& e) {
  bool pairs = true;
  for_each_round(e, [&](std::span<const query> asked) { pairs = pairs && all_opposite(asked); });
  return pairs;
}

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>

namespace zoq {

namespace detail {

ZOQ_BODY void take_rounds(
    std::uint64_t steps,
    function_ref<bool(const step_info&, std::span<const answer>, std::vector<query>&)> ask,
    see_queries f) {
  for (std::uint64_t step = 0; step < steps; ++step) {
    std::vector<answer> answers;
    std::vector<query> wanted;
    const step_info at{.step = step, .order = {}, .rate = 1};
    while (wanted.clear(), ask(at, answers, wanted)) {
      f(std::span<const query>(wanted));
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        answers.push_back({1.0 + static_cast<double>(answers.size())});
      }
    }
  }
}

}  // namespace detail

}  // namespace zoq

#endif
