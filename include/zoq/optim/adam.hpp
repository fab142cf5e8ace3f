// adam: each value's step is divided by the root of its running mean square.
//
//     m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
//     w <- (1 - rate * decay) w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
//
//     zoq::adam optimizer{.rate = 1e-4, .weight_decay = 0.01};
//
// The decay is AdamW's, apart from the gradient. Values of a view are offsets, so it pulls them to
// the base. Kingma and Ba, arXiv 1412.6980; Loshchilov and Hutter, arXiv 1711.05101.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/moments.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

struct adam {
  static constexpr std::string_view name = "adam";
  static constexpr std::string_view summary =
      "a mean of estimates over the root of their mean square; with weight decay AdamW";
  static constexpr std::string_view paper = "arXiv 1412.6980, 1711.05101";
  static constexpr std::string_view cost = "8 k bytes";
  static constexpr int state_floats = 2;
  static constexpr bool needs_norm = false;
  double rate = 3e-4;
  double beta1 = 0.9;       // b1: share of the mean that is kept
  double beta2 = 0.999;     // b2: share of the mean square that is kept
  double epsilon = 1e-8;    // beside the root
  double weight_decay = 0;  // times the rate, of the value at each step

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
    f("beta1", self.beta1);
    f("beta2", self.beta2);
    f("epsilon", self.epsilon);
    f("weight_decay", self.weight_decay);
  }

  /// What one step does to a value, its state being m, v: in double, rounded once for each of m, v
  /// and w. A square of a float is exact in double.
  struct rule {
    double rate,    // with the schedule, and 1 / (1 - b1^t)
        beta1,      // b1
        beta2,      // b2
        unbiased2,  // 1 / (1 - b2^t)
        epsilon,    // beside the root
        kept;       // 1 - rate * decay
    ZOQ_HD float operator()(float value, float gradient, float* state) const {
      const double g = static_cast<double>(gradient);
      const double m = running_mean(beta1, static_cast<double>(state[0]), g);
      const double v = running_mean(beta2, static_cast<double>(state[1]), g * g);
      state[0] = static_cast<float>(m);
      state[1] = static_cast<float>(v);
      const double step = m / (std::sqrt(v * unbiased2) + epsilon);
      return static_cast<float>(std::fma(-rate, step, static_cast<double>(value) * kept));
    }
  };

  /// Throws unless rate, epsilon and decay are finite and not negative, and both betas in [0, 1).
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_setting(name, "rate", rate);
    detail::require_setting(name, "epsilon", epsilon, 1e-30);
    detail::require_setting(name, "weight_decay", weight_decay);
    detail::require_kept(name, "beta1", beta1);
    detail::require_kept(name, "beta2", beta2);
    const double now = rate * facts.schedule;
    return {now * unbiased_factor(beta1, facts.step + 1), beta1,   beta2,
            unbiased_factor(beta2, facts.step + 1),       epsilon, 1 - now * weight_decay};
  }
};
static_assert(optimizer<adam>);

}  // namespace zoq
