// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/schedule.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string_view>
#include <variant>

#include "io/temporary_folder.hpp"

using zoq::factor;
using zoq::schedule_named;
using zoq::test::message_of;

TEST_CASE("schedules: constant stays 1") {
  for (std::uint64_t t = 0; t < 10; ++t) {
    CHECK(factor(zoq::constant{}, t, 10) == 1);
  }
}

TEST_CASE("schedules: linear falls by equal parts, from 1 to 1/T") {
  CHECK(factor(zoq::linear_decay{}, 0, 8) == 1);
  CHECK(factor(zoq::linear_decay{}, 2, 8) == 0.75);
  CHECK(factor(zoq::linear_decay{}, 7, 8) == 0.125);
}

TEST_CASE("schedules: cosine starts at 1 and is symmetric about 1/2") {
  CHECK(factor(zoq::cosine{}, 0, 12) == 1);
  // cos(pi / 3) = 1/2 and so on: double rounding, 2^-53 a step, is all that differs.
  CHECK(factor(zoq::cosine{}, 4, 12) == doctest::Approx(0.75).epsilon(1e-14));
  CHECK(factor(zoq::cosine{}, 6, 12) == doctest::Approx(0.5).epsilon(1e-14));
  for (std::uint64_t t = 1; t < 12; ++t) {
    CHECK(factor(zoq::cosine{}, t, 12) + factor(zoq::cosine{}, 12 - t, 12) ==
          doctest::Approx(1).epsilon(1e-14));
  }
}

TEST_CASE_TEMPLATE("schedules: in (0, 1), never rising", S, zoq::constant, zoq::linear_decay,
                   zoq::cosine) {
  for (const std::uint64_t steps : {1u, 2u, 7u, 1000u}) {
    double before = 1;
    bool good = true;
    for (std::uint64_t t = 0; t < steps; ++t) {
      const double now = factor(S{}, t, steps);
      good = good && now >= 0 && now <= before;
      before = now;
    }
    CHECK(good);
  }
}

TEST_CASE("schedules: one-cycle goes up along a line, and down along half a cosine") {
  const zoq::one_cycle s{.warm_up = 0.25, .start = 0.2, .end = 0.1};
  CHECK(factor(s, 0, 16) == 0.2);
  CHECK(factor(s, 2, 16) == doctest::Approx(0.6).epsilon(1e-14));
  CHECK(factor(s, 4, 16) == 1);
  CHECK(factor(s, 10, 16) == doctest::Approx(0.55).epsilon(1e-14));
  CHECK(factor(s, 8, 16) == doctest::Approx(0.1 + 0.9 * 0.75).epsilon(1e-14));
  for (std::uint64_t t = 1; t < 100; ++t) {
    const bool up = t <= 25;
    CHECK((factor(s, t, 100) > factor(s, t - 1, 100)) == up);
    CHECK(factor(s, t, 100) <= 1);
  }
  CHECK(factor(zoq::one_cycle{.warm_up = 0}, 0, 9) == 1);  // no warm-up: the cosine alone
  CHECK(factor(zoq::one_cycle{.warm_up = 0}, 5, 9) == factor(zoq::cosine{}, 5, 9));
}

TEST_CASE("schedules: settings of one-cycle that make no sense are refused") {
  CHECK(message_of([] { (void)factor(zoq::one_cycle{.warm_up = 1}, 0, 2); }) ==
        "one-cycle: warm_up is 1, wanted a share of the run in [0, 1)");
  CHECK(message_of([] { (void)factor(zoq::one_cycle{.start = 2}, 0, 2); }) ==
        "one-cycle: start 2 and end 0, wanted factors in [0, 1]");
}

TEST_CASE("schedules: a step outside the run is refused") {
  CHECK(message_of([] { (void)factor(zoq::constant{}, 10, 10); }) == "schedule: step 10 of 10");
  CHECK(message_of([] { (void)factor(zoq::constant{}, 0, 0); }) == "schedule: step 0 of 0");
}

TEST_CASE("schedule_named: by name") {
  const auto name_of = [](std::string_view name) {
    return std::visit([](const auto& s) { return std::string_view(s.name); }, schedule_named(name));
  };
  for (const std::string_view name : {"constant", "linear", "cosine", "one-cycle", "range-test"}) {
    CHECK(name_of(name) == name);
  }
  CHECK(message_of([] { schedule_named("step"); }) ==
        "unknown schedule \"step\": constant, linear, cosine, one-cycle, range-test");
}
