// The optimizers that can be chosen at run time, as one that forwards to the chosen.
//
//     zoq::any_optimizer o = zoq::optimizer_named("adam", {.rate = 1e-4});
//
// Visited once a step; so a trainer is compiled once for all of them, and they add to the compile
// time rather than multiply it. A new optimizer takes one more name in `any_optimizer`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "zoq/core/choice.hpp"
#include "zoq/core/config.hpp"
#include "zoq/optim/adalomo.hpp"
#include "zoq/optim/adam.hpp"
#include "zoq/optim/adamax.hpp"
#include "zoq/optim/apply.hpp"
#include "zoq/optim/momentum.hpp"
#include "zoq/optim/normalised.hpp"
#include "zoq/optim/optimizer.hpp"
#include "zoq/optim/polyak.hpp"
#include "zoq/optim/sgd.hpp"
#include "zoq/optim/sign.hpp"

namespace zoq {

/// One of the optimizers O, chosen at run time: an optimizer itself.
template <optimizer... O>
class optimizer_choice {
 public:
  static constexpr std::string_view name = "any";

  using list = std::variant<O...>;  // what can be chosen

  optimizer_choice() = default;
  /// Holds this one, as policy_named gives it.
  explicit optimizer_choice(list of) : of_(std::move(of)) {}
  /// Holds this one: optimizers convert.
  template <class One>
  requires(std::is_same_v<One, O> || ...) optimizer_choice(const One& one)  // NOLINT: a conversion
      : of_(one) {}

  /// Calls f(optimizer) with the chosen one, to read or change its settings.
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

  /// Floats of the chosen one's state, for values of this order.
  [[nodiscard]] index_t state_size(const value_order& order) const;
  /// One update by the chosen one, as apply_optimizer.
  template <executor X>
  void apply(const X& exec, const value_order& order, const step_facts& facts,
             const float* gradient, float* state, float* values) const;

 private:
  list of_;
};

template <optimizer... O>
std::string_view optimizer_choice<O...>::chosen() const {
  return name_of(of_);
}

template <optimizer... O>
index_t optimizer_choice<O...>::state_size(const value_order& order) const {
  return visit([&](const auto& o) { return state_size_of(o, order); });
}

template <optimizer... O>
template <executor X>
void optimizer_choice<O...>::apply(const X& exec, const value_order& order, const step_facts& facts,
                                   const float* gradient, float* state, float* values) const {
  visit([&](const auto& o) { apply_optimizer(exec, o, order, facts, gradient, state, values); });
}

/// Any optimizer of the library.
using any_optimizer =
    optimizer_choice<sgd, momentum, adam, adamax, normalised, polyak, adalomo, sign_descent>;

/// Settings that most optimizers share.
struct optimizer_settings {
  double rate = 3e-4;
};

/// The optimizer of this name, with settings as in core/settings.hpp; where its text names none, with these
/// if it has them. Throws on an unknown name, naming the choices, and on settings that it does not have.
any_optimizer optimizer_named(std::string_view text, const optimizer_settings& settings);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/settings.hpp"

namespace zoq {

ZOQ_BODY any_optimizer optimizer_named(std::string_view text, const optimizer_settings& settings) {
  any_optimizer out(policy_named<any_optimizer::list>("optimizer", text));
  const bool given = text.find(":rate=") != text.npos || text.find(",rate=") != text.npos;
  out.visit([&](auto& o) {
    if constexpr (requires { o.rate = settings.rate; }) {
      o.rate = given ? o.rate : settings.rate;
    }
  });
  return out;
}

static_assert(optimizer<any_optimizer>);

}  // namespace zoq

#endif
