// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/health.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "io/temporary_folder.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/train/step.hpp"

using zoq::answer;
using zoq::query;
using zoq::run_health;
using zoq::test::message_of;

namespace {

/// Steps of this loss until the run has diverged; `most` when it has not.
int steps_until_diverged(run_health& health, double loss, int most = 1000) {
  for (int t = 0; t < most; ++t) {
    if (health.diverged()) {
      return t;
    }
    health.note(loss, {});
  }
  return most;
}

}  // namespace

TEST_CASE("health: differences of losses are those of pairs, and of single points on one batch") {
  const query a{.seed = 1, .scale = 0.5}, b{.seed = 1, .scale = -0.5}, base{};
  const auto difference = [](const std::vector<query>& asked, const std::vector<answer>& answers) {
    return zoq::loss_difference(asked, answers);
  };
  CHECK(difference({a, b}, {{5}, {2}}) == 3);
  CHECK(difference({a, b, a, b}, {{5}, {2}, {1}, {5}}) == std::sqrt((9.0 + 16.0) / 2));
  CHECK(difference({base, a}, {{5}, {2}}) == 3);          // one-sided: from the base
  CHECK(difference({base, a, b}, {{9}, {5}, {2}}) == 3);  // a base, and a pair
  query elsewhere = a;
  elsewhere.batch = 7;
  CHECK(difference({base, elsewhere}, {{5}, {2}}) == 0);  // nothing to compare
  CHECK(difference({}, {}) == 0);
}

TEST_CASE("health: where rounding alone parts the losses the figure is 1, and slopes raise it") {
  std::mt19937 source(3);
  std::normal_distribution<double> rounding(0, 1e-4);
  for (const double slope : {0.0, 3e-4, 1e-2}) {  // what a slope adds to L+ - L-
    CAPTURE(slope);
    run_health health({.noise = 1e-4});
    for (int t = 0; t < 400; ++t) {
      const double difference = std::fabs(slope + rounding(source) - rounding(source));
      health.note(1, health.signal_to_noise(difference));
    }
    // The variance of a difference is 2 s^2, and 20 steps know it to a third (chi-squared).
    const double wanted = std::sqrt(1 + slope * slope / 2e-8);
    CHECK(std::fabs(*health.signal_to_noise() - wanted) < 0.35 * wanted);
    CHECK(health.noisy() == (wanted < 2));
  }
}

TEST_CASE("health: no figure without a noise, and no verdict before a window of steps") {
  run_health unknown;
  CHECK_FALSE(unknown.signal_to_noise(1).has_value());
  unknown.note(1, unknown.signal_to_noise(1));
  CHECK_FALSE(unknown.signal_to_noise().has_value());
  run_health health({.noise = 1});
  for (int t = 0; t < 20; ++t) {
    CHECK_FALSE(health.noisy());
    health.note(1, health.signal_to_noise(0));
  }
  CHECK(health.noisy());
  CHECK(*health.signal_to_noise() == 0);
}

TEST_CASE("health: a loss that stays far above the start's has diverged, others have not") {
  run_health health;
  CHECK(steps_until_diverged(health, 0.7) == 1000);
  CHECK(health.first_loss() == doctest::Approx(0.7));
  // The running mean needs 10 steps to pass 2, from there 50 count.
  const int steps = steps_until_diverged(health, 4);
  CHECK(steps > 50);
  CHECK(steps < 70);
  CHECK(health.loss() > 3);

  run_health bad_batches;  // every tenth loss is huge
  for (int t = 0; t < 2000; ++t) {
    bad_batches.note(t % 10 == 9 ? 8.0 : 0.5, {});
    CHECK_FALSE(bad_batches.diverged());
  }
  run_health back;  // above for a while, and back
  static_cast<void>(steps_until_diverged(back, 1.5, 100));
  for (int round = 0; round < 10; ++round) {
    static_cast<void>(steps_until_diverged(back, 5, 40));
    static_cast<void>(steps_until_diverged(back, 0.5, 60));
  }
  CHECK_FALSE(back.diverged());

  run_health from_zero;  // 0.1 is ten times the start and no divergence: the limit is a nat or more
  static_cast<void>(steps_until_diverged(from_zero, 0.01, 100));
  CHECK(steps_until_diverged(from_zero, 0.1) == 1000);
  run_health never({.divergence = 0});
  static_cast<void>(steps_until_diverged(never, 0.7, 100));
  CHECK(steps_until_diverged(never, 1e9) == 1000);
}

TEST_CASE("health: options that make no sense are refused") {
  CHECK(message_of([] { run_health({.noise = -1}); }) == "health: the noise is -1");
  CHECK(message_of([] { run_health({.noise = std::nan("")}); }) == "health: the noise is nan");
  CHECK(message_of([] { run_health({.divergence = -1}); }) ==
        "health: divergence is -1, wanted a finite number of at least 0");
  CHECK(message_of([] { run_health({.least_signal = std::nan("")}); }) ==
        "health: the least signal is nan, wanted a finite number of at least 0");
  CHECK(message_of([] { run_health({.window = 0}); }) ==
        "health: window and patience must be positive");
}
