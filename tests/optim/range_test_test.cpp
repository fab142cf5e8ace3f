// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/range_test.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"
#include "zoq/optim/schedule.hpp"

using zoq::range_choice;
using zoq::range_test;
using namespace zoq::test;

TEST_CASE("range-test: grows by the same factor at every step, from the smallest to the largest") {
  const range_test s{.smallest = 1e-2, .largest = 1e2};
  CHECK(zoq::factor(s, 0, 8) == 1e-2);
  for (std::uint64_t t = 1; t < 8; ++t) {
    CHECK(zoq::factor(s, t, 8) / zoq::factor(s, t - 1, 8) ==
          doctest::Approx(std::sqrt(10)).epsilon(1e-12));
  }
  CHECK(s.at(1) == doctest::Approx(1e2).epsilon(1e-12));
}

TEST_CASE("range-test: settings that make no sense are refused") {
  CHECK(message_of([] { (void)range_test{.smallest = 0}.at(0); }) ==
        "range-test: smallest 0 and largest 1000, wanted 0 < smallest < largest");
  CHECK(message_of([] { (void)range_test{.smallest = 2, .largest = 1}.at(0); }) ==
        "range-test: smallest 2 and largest 1, wanted 0 < smallest < largest");
}

TEST_CASE("rate_from_range: a tenth of the rate at which the loss was least") {
  std::vector<double> rates, losses;
  for (int t = 0; t < 200; ++t) {
    rates.push_back(std::pow(10, -5 + 6.0 * t / 200));
  }
  // A valley on the logarithm of the rate, at 1e-2, with noise that a memory of one would follow.
  const auto noise = uniform(200, 8, -0.02, 0.02);
  for (std::size_t t = 0; t < 200; ++t) {
    const double x = std::log10(rates[t]) + 2;
    losses.push_back(1 + 0.1 * x * x + static_cast<double>(noise[t]));
  }
  const range_choice smooth = zoq::rate_from_range(rates, losses);
  // The memory of 10 steps is 0.3 decades here: it shows the valley that much late.
  CHECK(std::log10(smooth.lowest) == doctest::Approx(-1.7).epsilon(0.2));
  CHECK(smooth.rate == smooth.lowest / 10);
  CHECK(smooth.diverged == 0);
  // What comes after the loss has run away is of no account, even when it comes back.
  for (std::size_t t = 140; t < 200; ++t) {
    losses[t] = t < 180 ? 50 : 0;
  }
  const range_choice cut = zoq::rate_from_range(rates, losses);
  CHECK(cut.lowest == smooth.lowest);
  CHECK(cut.diverged >= rates[140]);
  CHECK(cut.diverged <= rates[145]);
}

TEST_CASE("rate_from_range: too few steps, unequal numbers and losses that are no numbers") {
  const std::vector<double> nine(9, 1), ten(10, 1);
  CHECK(message_of([&] { (void)zoq::rate_from_range(nine, nine); }) ==
        "range test: 9 steps, wanted at least 10");
  CHECK(message_of([&] { (void)zoq::rate_from_range(ten, nine); }) ==
        "range test: 9 losses for 10 rates");
  std::vector<double> bad = ten;
  bad[3] = std::nan("");
  CHECK(message_of([&] { (void)zoq::rate_from_range(ten, bad); }) ==
        "range test: the loss of step 3 is nan");
}
