// The objectives that can be chosen at run time, as one that forwards to the chosen.
//
//     zoq::any_objective objective = zoq::option_likelihood{};
//     objective.chooses();    // true: accuracy has a meaning
//
// Visited once a row, far from every inner loop; so a trainer is compiled once for all of them. A
// new objective takes one more name in `any_objective`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <type_traits>
#include <variant>

#include "zoq/core/choice.hpp"
#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/objective/next_token.hpp"
#include "zoq/objective/objective.hpp"
#include "zoq/objective/option_likelihood.hpp"

namespace zoq {

template <objective... O>
class objective_choice {
 public:
  static constexpr std::string_view name = "any";

  objective_choice() = default;
  template <class One>
  requires(std::is_same_v<One, O> || ...) objective_choice(const One& one)  // NOLINT: a conversion
      : of_(one) {}

  [[nodiscard]] std::string_view chosen() const { return name_of(of_); }
  /// False for objectives that only have a loss: `choice` is then -1.
  [[nodiscard]] bool chooses() const {
    return std::visit([]<class One>(const One&) { return choosing_objective<One>; }, of_);
  }

  void pack(const example& row, packing& batch) const {
    std::visit([&](const auto& o) { o.pack(row, batch); }, of_);
  }
  [[nodiscard]] double loss(const example& row, std::span<const double> scores) const {
    return std::visit([&](const auto& o) { return o.loss(row, scores); }, of_);
  }
  [[nodiscard]] index_t choice(const example& row, std::span<const double> scores) const {
    return std::visit(
        [&]<class One>(const One& o) -> index_t {
          if constexpr (choosing_objective<One>) {
            return o.choice(row, scores);
          } else {
            return -1;
          }
        },
        of_);
  }

  /// Throws for objectives without derivatives, naming the chosen.
  void read_weights(const example& row, std::span<const double> scores,
                    std::span<double> weights) const {
    std::visit(
        [&]<class One>(const One& o) {
          if constexpr (weighing_objective<One>) {
            o.read_weights(row, scores, weights);
          } else {
            fail(One::name, " has no derivatives: no gradient can be scored");
          }
        },
        of_);
  }

 private:
  std::variant<O...> of_;
};

using any_objective = objective_choice<option_likelihood, next_token>;
static_assert(choosing_objective<any_objective>);

}  // namespace zoq
