// Schedules: the factor on the learning rate at each step of a run.
//
//     constant 1;   linear 1 - t/T;   cosine (1 + cos(pi t/T)) / 2;   one-cycle;   range-test
//                                                                         t = 0 .. T - 1
//     zoq::any_schedule s = zoq::schedule_named("cosine");
//     double f = zoq::factor(s, step, steps);
//
// All but range-test stay in [0, 1], so the rate is the largest of the run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "zoq/optim/range_test.hpp"

namespace zoq {

/// Factor 1 at every step.
struct constant {
  static constexpr std::string_view name = "constant";
  static constexpr std::string_view summary = "the rate as it is, to the end";
  static constexpr std::string_view paper = "";
  static constexpr std::string_view cost = "none";
  /// The factor, wherever the run is.
  static double at(double) { return 1.0; }
};

/// Factor 1 - t/T.
struct linear_decay {
  static constexpr std::string_view name = "linear";
  static constexpr std::string_view summary = "falls by the same at every step, to 0";
  static constexpr std::string_view paper = "";
  static constexpr std::string_view cost = "none";
  /// The factor; progress: t/T, from 0 to 1.
  static double at(double progress) { return 1.0 - progress; }
};

/// Loshchilov and Hutter, without restarts.
struct cosine {
  static constexpr std::string_view name = "cosine";
  static constexpr std::string_view summary = "falls along half a cosine, to 0";
  static constexpr std::string_view paper = "arXiv 1608.03983";
  static constexpr std::string_view cost = "none";
  /// The factor; progress: t/T, from 0 to 1.
  static double at(double progress);
};

/// Up along a line from `start` to 1 over the first `warm_up` of the run, then down along half a
/// cosine to `end`. Smith and Topin's cycle in the form that anneals in one go.
struct one_cycle {
  static constexpr std::string_view name = "one-cycle";
  static constexpr std::string_view summary = "a line up to the rate, then half a cosine down";
  static constexpr std::string_view paper = "arXiv 1708.07120";
  static constexpr std::string_view cost = "none";
  double warm_up = 0.3;  // share of the run
  double start = 0.04;   // factor at the first step
  double end = 0;        // factor behind the last step

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("warm_up", self.warm_up);
    f("start", self.start);
    f("end", self.end);
  }

  /// Throws unless all three are in [0, 1], and warm_up below 1.
  [[nodiscard]] double at(double progress) const;
};

/// Any schedule of the library.
using any_schedule = std::variant<constant, linear_decay, cosine, one_cycle, range_test>;

/// The factor at `step` of `steps`. Throws when the step is not within the run, or on settings that
/// make no sense.
double factor(const any_schedule& schedule, std::uint64_t step, std::uint64_t steps);

/// The schedule of this name, with settings as in core/settings.hpp. Throws, naming the choices, when there
/// is none of this name.
any_schedule schedule_named(std::string_view text);

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>

#include "zoq/core/error.hpp"
#include "zoq/core/settings.hpp"

namespace zoq {

namespace detail {

/// From 1 to 0 as progress goes from 0 to 1.
ZOQ_BODY double half_cosine(double progress) {
  return (1.0 + std::cos(3.141592653589793 * progress)) / 2;
}

}  // namespace detail

ZOQ_BODY double cosine::at(double progress) { return detail::half_cosine(progress); }

ZOQ_BODY double one_cycle::at(double progress) const {
  require(warm_up >= 0 && warm_up < 1, name, ": warm_up is ", warm_up,
          ", wanted a share of the run in [0, 1)");
  require(start >= 0 && start <= 1 && end >= 0 && end <= 1, name, ": start ", start, " and end ",
          end, ", wanted factors in [0, 1]");
  return progress < warm_up
             ? start + (1 - start) * progress / warm_up
             : end + (1 - end) * detail::half_cosine((progress - warm_up) / (1 - warm_up));
}

ZOQ_BODY double factor(const any_schedule& schedule, std::uint64_t step, std::uint64_t steps) {
  require(step < steps, "schedule: step ", step, " of ", steps);
  const double progress = static_cast<double>(step) / static_cast<double>(steps);
  return std::visit([&](const auto& s) { return s.at(progress); }, schedule);
}

ZOQ_BODY any_schedule schedule_named(std::string_view text) {
  return policy_named<any_schedule>("schedule", text);
}

}  // namespace zoq

#endif
