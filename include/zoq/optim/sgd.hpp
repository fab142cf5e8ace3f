// sgd: w <- w - rate * schedule * g.
//
//     zoq::sgd optimizer{.rate = 3e-4};
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

struct sgd {
  static constexpr std::string_view name = "sgd";
  static constexpr std::string_view summary = "a step of rate times the estimate";
  static constexpr std::string_view paper = "Robbins and Monro, Ann. Math. Statist. 22(3), 1951";
  static constexpr std::string_view cost = "no state";
  static constexpr int state_floats = 0;
  static constexpr bool needs_norm = false;
  double rate = 3e-4;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
  }

  /// What one step does to a value.
  struct rule {
    float rate;  // with the schedule
    // One rounding: the same bits with and without fused instructions.
    ZOQ_HD float operator()(float value, float gradient, float*) const {
      return std::fma(-rate, gradient, value);
    }
  };

  /// Throws unless the rate is finite and not negative.
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_setting(name, "rate", rate);
    return {static_cast<float>(rate * facts.schedule)};
  }
};
static_assert(optimizer<sgd>);

}  // namespace zoq
