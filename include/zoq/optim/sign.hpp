// sign: every value moves by the rate, against the sign of its gradient.
//
//     w <- w - rate * schedule * sign(g),   sign(0) = 0
//
//     zoq::sign_descent optimizer{.rate = 1e-4};
//
// Bernstein et al., "signSGD", arXiv 1802.04434.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

/// w <- w - rate * schedule * sign(g).
struct sign_descent {
  static constexpr std::string_view name = "sign";
  static constexpr std::string_view summary = "every value moves by the rate, down its own slope";
  static constexpr std::string_view paper = "arXiv 1802.04434";
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
    ZOQ_HD float operator()(float value, float gradient, float*) const {
      return gradient > 0 ? value - rate : gradient < 0 ? value + rate : value;
    }
  };

  /// Throws unless the rate is finite and not negative.
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_setting(name, "rate", rate);
    return {static_cast<float>(rate * facts.schedule)};
  }
};
static_assert(optimizer<sign_descent>);

}  // namespace zoq
