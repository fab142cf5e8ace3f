// A new schedule: a power of what is left of the run.
//
// Its last line: polynomial:power=3 is 0\.125 halfway
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <concepts>
#include <iostream>
#include <string_view>
#include <zoq/core/error.hpp>
#include <zoq/core/settings.hpp>

// factor = (1 - t/T)^power
struct polynomial {
  static constexpr std::string_view name = "polynomial";
  static constexpr std::string_view summary = "a power of the share of the run that is left";
  static constexpr std::string_view paper = "";
  static constexpr std::string_view cost = "none";
  double power = 2;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("power", self.power);
  }

  [[nodiscard]] double at(double progress) const {
    zoq::require(power >= 0, name, ": power is ", power, ", wanted 0 or more");
    return std::pow(1 - progress, power);
  }
};
static_assert(zoq::has_settings<polynomial> && requires(const polynomial& s) {
  { s.at(0.5) } -> std::same_as<double>;
});

int main() {
  // As the command line would make it of "polynomial:power=3".
  polynomial s;
  zoq::set_settings(s, "schedule polynomial", "power=3");
  std::cout << zoq::policy_text(s) << " is " << s.at(0.5) << " halfway\n";
  return s.at(0) == 1 && s.at(0.5) == 0.125 ? 0 : 1;
}
