// normalised: steps of one length, whatever the slope.
//
//     w <- w - rate * schedule * g / |g|
//
//     zoq::normalised optimizer{.rate = 0.01};    // every step is 0.01 long
//
// sgd moves a value by about rate * slope: to compare rates, times sqrt(k) of the k values. An
// estimate of zero moves nothing. Hazan, Levy and Shalev-Shwartz, arXiv 1507.02030.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

struct normalised {
  static constexpr std::string_view name = "normalised";
  static constexpr std::string_view summary = "a step of the same length whatever the estimate";
  static constexpr std::string_view paper = "arXiv 1507.02030";
  static constexpr std::string_view cost = "no state";
  static constexpr int state_floats = 0;
  static constexpr bool needs_norm = true;
  double rate = 3e-4;  // the length of a step

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
  }

  /// What one step does to a value.
  struct rule {
    double rate;  // over the norm
    ZOQ_HD float operator()(float value, float gradient, float*) const {
      return static_cast<float>(
          std::fma(-rate, static_cast<double>(gradient), static_cast<double>(value)));
    }
  };

  /// Throws unless the rate is finite and not negative.
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_setting(name, "rate", rate);
    const double norm2 = facts.gradient_norm2;
    return {norm2 > 0 ? rate * facts.schedule / std::sqrt(norm2) : 0.0};
  }
};
static_assert(optimizer<normalised>);

}  // namespace zoq
