// polyak: the rate follows from how far the loss is above the best one that can be.
//
//     gamma = min(cap, scale * max(L - best, 0) / |g|^2);   v <- beta v + (1 - beta) schedule gamma g
//     w <- w - v
//
//     zoq::polyak optimizer{.best = 0.1};
//
// There is no learning rate. With beta 0, scale 1 and no cap the rate is Polyak's own, (L - L*) / |g|^2.
// An estimate along q random directions has a squared norm of about k / q times that of the gradient
// (its variance is all in the directions), so a step of scale 1 takes off about q / k of what is wanted:
// a larger scale suits zeroth-order estimates, up to k / q. Loizou et al., arXiv 2002.10542
// (scale: 1 / c, cap: gamma_b); for a momentum beside it, Oikonomou and Loizou, arXiv 2406.04142.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

struct polyak {
  static constexpr std::string_view name = "polyak";
  static constexpr std::string_view summary =
      "a rate of the loss above the best possible, over the estimate's squared norm";
  static constexpr std::string_view paper = "arXiv 2002.10542";
  static constexpr std::string_view cost = "4 k bytes";
  static constexpr int state_floats = 1;
  static constexpr bool needs_norm = true;
  double best = 0;   // L*, the least loss that can be
  double scale = 1;  // on the rate
  double cap = 1;    // the largest rate
  double beta = 0;   // momentum

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("best", self.best);
    f("scale", self.scale);
    f("cap", self.cap);
    f("beta", self.beta);
  }

  /// What one step does to a value, its state being v.
  struct rule {
    /// (1 - beta) schedule gamma.
    double rate, beta;  // share of v that is kept
    ZOQ_HD float operator()(float value, float gradient, float* velocity) const {
      const double v =
          std::fma(rate, static_cast<double>(gradient), beta * static_cast<double>(*velocity));
      *velocity = static_cast<float>(v);
      return static_cast<float>(static_cast<double>(value) - v);
    }
  };

  /// The rate at these facts, before schedule and momentum. Throws on settings that make no sense.
  [[nodiscard]] double rate(const step_facts& facts) const {
    require(std::isfinite(best), name, ": the best loss is ", best);
    detail::require_setting(name, "scale", scale);
    require(cap >= 0, name, ": the cap is ", cap, ", wanted a number of at least 0");
    const double above = facts.loss > best ? scale * (facts.loss - best) : 0.0;
    return facts.gradient_norm2 > 0 ? std::fmin(cap, above / facts.gradient_norm2) : 0.0;
  }

  /// Throws as `rate` does, and unless beta is in [0, 1).
  [[nodiscard]] rule at(const step_facts& facts) const {
    detail::require_kept(name, "beta", beta);
    return {(1 - beta) * facts.schedule * rate(facts), beta};
  }
};
static_assert(optimizer<polyak>);

}  // namespace zoq
