// The objectives that can be chosen at run time, as one that forwards to the chosen.
//
//     zoq::any_objective objective = zoq::objective_named("dpo:beta=0.2", zoq::row_kind::preference);
//     objective.chooses();    // true: accuracy has a meaning
//
// Visited once a row, far from every inner loop; so a trainer is compiled once for all of them. A
// new objective takes one more name in `any_objective`, and says by `serves` which rows suit it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/choice.hpp"
#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/accuracy.hpp"
#include "zoq/objective/dpo.hpp"
#include "zoq/objective/exact_match.hpp"
#include "zoq/objective/f1.hpp"
#include "zoq/objective/next_token.hpp"
#include "zoq/objective/objective.hpp"
#include "zoq/objective/option_likelihood.hpp"

namespace zoq {

/// One of the objectives O, chosen at run time: an objective itself.
template <objective... O>
class objective_choice {
 public:
  static constexpr std::string_view name = "any";
  static constexpr bool reads_best = true;  // if need be: see wants_best

  using list = std::variant<O...>;  // what can be chosen

  objective_choice() = default;
  /// Holds this one, as policy_named gives it.
  explicit objective_choice(list of) : of_(std::move(of)) {}
  /// Holds this one: objectives convert.
  template <class One>
  requires(std::is_same_v<One, O> || ...) objective_choice(const One& one)  // NOLINT: a conversion
      : of_(one) {}

  /// Calls f(objective) with the chosen one, to read or change its settings.
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
  /// False for objectives that only have a loss: `choice` is then -1.
  [[nodiscard]] bool chooses() const;
  /// True when `loss` and `choice` need the likeliest tokens.
  [[nodiscard]] bool wants_best() const;
  /// True when rows need a reference; see train/reference.hpp.
  [[nodiscard]] bool refers() const;
  [[nodiscard]] bool serves(row_kind kind) const;

  void pack(const example& row, packing& batch) const;
  [[nodiscard]] double loss(const example& row, std::span<const double> scores,
                            std::span<const token_t> best = {}) const;
  [[nodiscard]] index_t choice(const example& row, std::span<const double> scores,
                               std::span<const token_t> best = {}) const;
  [[nodiscard]] std::vector<double> reference(const example& row,
                                              std::span<const double> scores) const;

  /// Throws for objectives without derivatives, naming the chosen.
  void read_weights(const example& row, std::span<const double> scores,
                    std::span<double> weights) const;

 private:
  list of_;
};

template <objective... O>
std::string_view objective_choice<O...>::chosen() const {
  return name_of(of_);
}

template <objective... O>
bool objective_choice<O...>::chooses() const {
  return visit([]<class One>(const One&) { return choosing_objective<One>; });
}

template <objective... O>
bool objective_choice<O...>::wants_best() const {
  return visit([]<class One>(const One&) { return best_reading_objective<One>; });
}

template <objective... O>
bool objective_choice<O...>::refers() const {
  return visit([]<class One>(const One&) { return referring_objective<One>; });
}

template <objective... O>
bool objective_choice<O...>::serves(row_kind kind) const {
  return visit([&](const auto& o) { return o.serves(kind); });
}

template <objective... O>
void objective_choice<O...>::pack(const example& row, packing& batch) const {
  visit([&](const auto& o) { o.pack(row, batch); });
}

template <objective... O>
double objective_choice<O...>::loss(const example& row, std::span<const double> scores,
                                    std::span<const token_t> best) const {
  return visit([&](const auto& o) { return loss_of(o, row, scores, best); });
}

template <objective... O>
index_t objective_choice<O...>::choice(const example& row, std::span<const double> scores,
                                       std::span<const token_t> best) const {
  return visit([&]<class One>(const One& o) -> index_t {
    if constexpr (choosing_objective<One>) {
      return choice_of(o, row, scores, best);
    } else {
      return -1;
    }
  });
}

template <objective... O>
std::vector<double> objective_choice<O...>::reference(const example& row,
                                                      std::span<const double> scores) const {
  return visit([&]<class One>(const One& o) -> std::vector<double> {
    if constexpr (referring_objective<One>) {
      return o.reference(row, scores);
    } else {
      return {};
    }
  });
}

template <objective... O>
void objective_choice<O...>::read_weights(const example& row, std::span<const double> scores,
                                          std::span<double> weights) const {
  visit([&]<class One>(const One& o) {
    if constexpr (weighing_objective<One>) {
      o.read_weights(row, scores, weights);
    } else {
      fail(One::name, " has no derivatives: no gradient can be scored");
    }
  });
}

/// Any objective of the library.
using any_objective =
    objective_choice<option_likelihood, next_token, accuracy, exact_match, f1, dpo>;
static_assert(choosing_objective<any_objective> && referring_objective<any_objective>);
#ifdef ZOQ_COMPILED_KERNELS
ZOQ_COMPILED class objective_choice<option_likelihood, next_token, accuracy, exact_match, f1, dpo>;
#endif

/// The objective that rows of this kind are for when none is named.
any_objective default_objective(row_kind kind);

/// The objective of this name, with settings as in core/settings.hpp, for rows of this kind. Throws on
/// an unknown name, and, naming the kinds, when such rows do not suit it.
any_objective objective_named(std::string_view text, row_kind kind);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/settings.hpp"

namespace zoq {

ZOQ_BODY any_objective default_objective(row_kind kind) {
  if (kind == row_kind::choice) {
    return option_likelihood{};
  }
  if (kind == row_kind::preference) {
    return dpo{};
  }
  return next_token{};
}

ZOQ_BODY any_objective objective_named(std::string_view text, row_kind kind) {
  any_objective out(policy_named<any_objective::list>("objective", text));
  std::string wanted;
  for (const row_kind one : row_kinds) {
    if (out.serves(one)) {
      wanted += (wanted.empty() ? "\"" : " or \"") + std::string(key_of(one)) + "\"";
    }
  }
  require(out.serves(kind), "objective ", out.chosen(), " is for rows with ", wanted,
          ", not for rows with \"", key_of(kind), "\"");
  return out;
}

}  // namespace zoq

#endif
