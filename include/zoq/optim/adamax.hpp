// adamax: Adam with a decaying largest gradient in place of the mean square.
//
//     m <- b1 m + (1 - b1) g;   u <- max(b2 u, |g|);   w <- w - rate (m / (1 - b1^t)) / u
//
//     zoq::adamax optimizer{.rate = 1e-4};
//
// A value whose gradients were all zero does not move. Kingma and Ba, arXiv 1412.6980, section 7.1.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/moments.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

struct adamax {
  static constexpr std::string_view name = "adamax";
  static constexpr std::string_view summary =
      "a mean of estimates over the largest of the recent ones";
  static constexpr std::string_view paper = "arXiv 1412.6980";
  static constexpr std::string_view cost = "8 k bytes";
  static constexpr int state_floats = 2;
  static constexpr bool needs_norm = false;
  double rate = 3e-4;
  double beta1 = 0.9;    // b1: share of the mean that is kept
  double beta2 = 0.999;  // b2: share of the largest that is kept

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
    f("beta1", self.beta1);
    f("beta2", self.beta2);
  }

  /// What one step does to a value, its state being m, u.
  struct rule {
    double rate,  // with the schedule, and 1 / (1 - b1^t)
        beta1,    // b1
        beta2;    // b2
    ZOQ_HD float operator()(float value, float gradient, float* state) const {
      const double g = static_cast<double>(gradient);
      const double m = running_mean(beta1, static_cast<double>(state[0]), g);
      const double u = std::fmax(beta2 * static_cast<double>(state[1]), std::fabs(g));
      state[0] = static_cast<float>(m);
      state[1] = static_cast<float>(u);
      return u > 0 ? static_cast<float>(std::fma(-rate, m / u, static_cast<double>(value))) : value;
    }
  };

  /// Throws unless the rate is finite and not negative, and both betas in [0, 1).
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_setting(name, "rate", rate);
    detail::require_kept(name, "beta1", beta1);
    detail::require_kept(name, "beta2", beta2);
    return {rate * facts.schedule * unbiased_factor(beta1, facts.step + 1), beta1, beta2};
  }
};
static_assert(optimizer<adamax>);

}  // namespace zoq
