// Schedules: the factor on the learning rate at each step of a run, in [0, 1].
//
//     constant 1;   linear 1 - t/T;   cosine (1 + cos(pi t/T)) / 2       t = 0 .. T - 1
//
//     zoq::any_schedule s = zoq::schedule_named("cosine");
//     double f = zoq::factor(s, step, steps);
//
// Loshchilov and Hutter, arXiv 1608.03983, for the cosine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <variant>

#include "zoq/core/choice.hpp"
#include "zoq/core/error.hpp"

namespace zoq {

struct constant {
  static constexpr std::string_view name = "constant";
  static double at(double) { return 1.0; }
};
struct linear_decay {
  static constexpr std::string_view name = "linear";
  static double at(double progress) { return 1.0 - progress; }
};
struct cosine {
  static constexpr std::string_view name = "cosine";
  static double at(double progress) { return (1.0 + std::cos(3.141592653589793 * progress)) / 2; }
};

using any_schedule = std::variant<constant, linear_decay, cosine>;

/// The factor at `step` of `steps`. Throws when the step is not within the run.
inline double factor(const any_schedule& schedule, std::uint64_t step, std::uint64_t steps) {
  require(step < steps, "schedule: step ", step, " of ", steps);
  const double progress = static_cast<double>(step) / static_cast<double>(steps);
  return std::visit([&](const auto& s) { return s.at(progress); }, schedule);
}

/// Throws, naming the choices, when there is none of this name.
inline any_schedule schedule_named(std::string_view name) {
  return choice_named<any_schedule>("schedule", name);
}

}  // namespace zoq
