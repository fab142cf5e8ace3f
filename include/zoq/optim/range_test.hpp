// range_test: finds a learning rate in one run whose rate grows from far too small to too large.
//
//     factor = smallest * (largest / smallest)^(t / T)
//
//     zoq::range_test schedule{.smallest = 1e-3, .largest = 1e3};   // on a rate of about the right size
//     ...                                          // a run keeps rate and loss of every step
//     double rate = zoq::rate_from_range(rates, losses).rate;
//
// Smith, arXiv 1506.01186, section 3.3, with geometric steps.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace zoq {

struct range_test {
  static constexpr std::string_view name = "range-test";
  static constexpr std::string_view summary =
      "grows from far too small to too large: to find the rate";
  static constexpr std::string_view paper = "arXiv 1506.01186";
  static constexpr std::string_view cost = "none";
  double smallest = 1e-3;  // factor at the first step
  double largest = 1e3;    // factor behind the last step

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("smallest", self.smallest);
    f("largest", self.largest);
  }

  /// Throws unless 0 < smallest < largest, both finite.
  [[nodiscard]] double at(double progress) const;
};

/// Rates that a range test found.
struct range_choice {
  double rate = 0;      // to use
  double lowest = 0;    // at which the smoothed loss was least
  double diverged = 0;  // from which it was far above that; 0: it never was
};

/// Picks the rate from what a range test recorded: a tenth of the one at which the smoothed loss was
/// least, for there steps are already as large as they may be. The loss is smoothed as a running mean
/// with a memory of `memory` steps, because those of batches are noisy. Steps from where it has risen
/// above its least by more than it had fallen till then, and by at least `noise` of itself, are left
/// out. Throws on fewer than 10 steps, or when there is not one loss for each rate, or a loss before
/// the rise is no number.
[[nodiscard]] range_choice rate_from_range(std::span<const double> rates,
                                           std::span<const double> losses, double memory = 10,
                                           double noise = 0.1);

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>
#include <cstddef>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY double range_test::at(double progress) const {
  require(smallest > 0 && largest > smallest && std::isfinite(largest), name, ": smallest ",
          smallest, " and largest ", largest, ", wanted 0 < smallest < largest");
  return smallest * std::pow(largest / smallest, progress);
}

ZOQ_BODY range_choice rate_from_range(std::span<const double> rates, std::span<const double> losses,
                                      double memory, double noise) {
  require(rates.size() == losses.size(), "range test: ", losses.size(), " losses for ",
          rates.size(), " rates");
  require(rates.size() >= 10, "range test: ", rates.size(), " steps, wanted at least 10");
  require(memory >= 1, "range test: a memory of ", memory, " steps, wanted at least 1");
  const double keep = 1 - 1 / memory;
  double mean = 0, weight = 0, first = 0, least = 0;
  range_choice out;
  for (std::size_t t = 0; t < rates.size(); ++t) {
    require(std::isfinite(losses[t]), "range test: the loss of step ", t, " is ", losses[t]);
    mean = keep * mean + (1 - keep) * losses[t];
    weight = keep * weight + (1 - keep);
    const double smooth = mean / weight;
    if (t == 0) {
      first = smooth;
    }
    if (t == 0 || smooth < least) {
      least = smooth;
      out.lowest = rates[t];
    } else if (smooth - least > std::fmax(first - least, noise * std::fabs(least))) {
      out.diverged = rates[t];
      break;
    }
  }
  out.rate = out.lowest / 10;
  return out;
}

}  // namespace zoq

#endif
