// The estimators that can be chosen at run time, as one that forwards to the chosen.
//
//     zoq::any_estimator e = zoq::estimator_named("spsa", {.epsilon = 5e-3, .probes = 1});
//
// Visited twice a step; so a trainer is compiled once for all of them, and they add to the compile
// time rather than multiply it. A new estimator takes one more name in `any_estimator`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/estimate/conservative.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/fzoo.hpp"
#include "zoq/estimate/hizoo.hpp"
#include "zoq/estimate/leave_one_out.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/estimate/rounds.hpp"
#include "zoq/estimate/sign_spsa.hpp"
#include "zoq/estimate/spsa.hpp"
#include "zoq/estimate/svrg.hpp"

namespace zoq {

/// One of the estimators E, chosen at run time: an estimator itself.
template <class... E>
class estimator_choice {
 public:
  using state = std::tuple<typename E::state...>;  // only the chosen one's is used
  static constexpr std::string_view name = "any";

  using list = std::variant<E...>;  // what can be chosen

  estimator_choice() = default;
  /// Holds this one, as choice_named gives it.
  explicit estimator_choice(list of) : of_(std::move(of)) {}
  /// Holds this one: estimators convert.
  template <class One>
  requires(std::is_same_v<One, E> || ...) estimator_choice(const One& one)  // NOLINT: a conversion
      : of_(one) {}

  /// Calls f(estimator) with the chosen one, to read or change its settings.
  template <class F>
  decltype(auto) visit(F&& f) {
    return std::visit(std::forward<F>(f), of_);
  }
  /// The same, to read only.
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), of_);
  }
  /// The name of the chosen one.
  [[nodiscard]] std::string_view chosen() const;

  template <executor X>
  bool ask(const X& exec, const step_info& at, state& states, std::span<const answer> answers,
           std::vector<query>& wanted) const;
  template <executor X>
  void tell(const X& exec, const step_info& at, state& states, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const;

  /// The state of the chosen one; empty when it has nothing to save. See saved_estimator.
  template <executor X>
  [[nodiscard]] std::vector<float> save(const X& exec, const state& states) const;
  /// Restores what save gave. Throws when that cannot be a state of the chosen one.
  template <executor X>
  void load(const X& exec, std::span<const float> saved, state& states) const;
  /// Bytes of the chosen one's state, for k values.
  [[nodiscard]] index_t state_bytes(index_t k) const;

 private:
  template <std::size_t I = 0, class States, class F>
  auto with_state(States& states, const F& f) const {
    if constexpr (I + 1 < sizeof...(E)) {
      if (of_.index() != I) {
        return with_state<I + 1>(states, f);
      }
    }
    return f(std::get<I>(of_), std::get<I>(states));
  }

  list of_;
};

template <class... E>
std::string_view estimator_choice<E...>::chosen() const {
  return name_of(of_);
}

template <class... E>
template <executor X>
bool estimator_choice<E...>::ask(const X& exec, const step_info& at, state& states,
                                 std::span<const answer> answers,
                                 std::vector<query>& wanted) const {
  return with_state(states,
                    [&](const auto& e, auto& s) { return e.ask(exec, at, s, answers, wanted); });
}

template <class... E>
template <executor X>
void estimator_choice<E...>::tell(const X& exec, const step_info& at, state& states,
                                  std::span<const query> asked, std::span<const answer> answers,
                                  gradient& g) const {
  with_state(states, [&](const auto& e, auto& s) { e.tell(exec, at, s, asked, answers, g); });
}

template <class... E>
template <executor X>
std::vector<float> estimator_choice<E...>::save(const X& exec, const state& states) const {
  return with_state(states, [&](const auto& e, const auto& s) { return save_state(e, exec, s); });
}

template <class... E>
template <executor X>
void estimator_choice<E...>::load(const X& exec, std::span<const float> saved,
                                  state& states) const {
  with_state(states, [&](const auto& e, auto& s) { load_state(e, exec, saved, s); });
}

template <class... E>
index_t estimator_choice<E...>::state_bytes(index_t k) const {
  return visit([&](const auto& e) { return state_bytes_of(e, k); });
}

/// Any estimator of the library.
using any_estimator = estimator_choice<spsa, spsa_one_sided, leave_one_out, fzoo, hizoo, svrg,
                                       conservative, sign_spsa>;
static_assert(saved_estimator<any_estimator, any_executor>);

/// Settings that most estimators share.
struct estimator_settings {
  double epsilon = 5e-3;
  int probes = 0;  // 0: as many as each takes by default
};

/// The estimator of this name, with the settings that it has. Throws, naming the choices, when there
/// is none.
any_estimator estimator_named(std::string_view name, const estimator_settings& settings);

/// What any estimator asks for in a step: estimate/rounds.hpp.
void for_each_round(const any_estimator& e, see_queries f);
/// Whether the chosen one asks for pairs of opposite points alone, likewise.
bool asks_for_pairs(const any_estimator& e);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/choice.hpp"

namespace zoq {

ZOQ_BODY any_estimator estimator_named(std::string_view name, const estimator_settings& settings) {
  any_estimator out(choice_named<any_estimator::list>("estimator", name));
  out.visit([&](auto& e) {
    if constexpr (requires { e.epsilon = settings.epsilon; }) {
      e.epsilon = settings.epsilon;
    }
    if constexpr (requires { e.probes = settings.probes; }) {
      e.probes = settings.probes == 0 ? e.probes : settings.probes;
    }
  });
  return out;
}

ZOQ_BODY void for_each_round(const any_estimator& e, see_queries f) {
  for_each_round<any_estimator>(e, f);
}

ZOQ_BODY bool asks_for_pairs(const any_estimator& e) { return asks_for_pairs<any_estimator>(e); }

}  // namespace zoq

#endif
