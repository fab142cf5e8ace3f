// momentum: a velocity that keeps a share of itself, the heavy ball.
//
//     v <- beta v + g;   w <- w - rate * schedule * v
//
//     zoq::momentum optimizer{.rate = 3e-5, .beta = 0.9};
//
// A steady gradient g makes steps of rate / (1 - beta) g: take the rate of sgd times (1 - beta).
// Polyak, USSR Comp. Math. and Math. Phys. 4(5), 1964.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

struct momentum {
  static constexpr std::string_view name = "momentum";
  static constexpr std::string_view summary = "steps along a velocity that sums the estimates";
  static constexpr std::string_view paper = "Polyak, USSR Comp. Math. and Math. Phys. 4(5), 1964";
  static constexpr std::string_view cost = "4 k bytes";
  static constexpr int state_floats = 1;
  static constexpr bool needs_norm = false;
  double rate = 3e-4;
  double beta = 0.9;  // share of the velocity that is kept

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
    f("beta", self.beta);
  }

  /// What one step does to a value, its state being v.
  struct rule {
    /// With the schedule.
    float rate, beta;  // share of v that is kept
    ZOQ_HD float operator()(float value, float gradient, float* velocity) const {
      *velocity = std::fma(beta, *velocity, gradient);
      return std::fma(-rate, *velocity, value);
    }
  };

  /// Throws unless the rate is finite and not negative, and beta in [0, 1).
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_setting(name, "rate", rate);
    detail::require_kept(name, "beta", beta);
    return {static_cast<float>(rate * facts.schedule), static_cast<float>(beta)};
  }
};
static_assert(optimizer<momentum>);

}  // namespace zoq
