// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/momentum.hpp"

#include <doctest/doctest.h>

#include "io/temporary_folder.hpp"
#include "optim/follow.hpp"
#include "optim/reference.hpp"
#include "zoq/optim/sgd.hpp"

using zoq::momentum;
using namespace zoq::test;

TEST_CASE("momentum: within 1e-6 of a reference in double over 1000 steps") {
  // Two roundings of floats below 1 a step, 0.9 itself rounded by 2^-25; rates of 1e-3 make them small.
  CHECK(farthest(momentum{.rate = 1e-3}, [] { return momentum_reference{.rate = 1e-3}; }) <= 1e-6);
}

TEST_CASE("momentum: with beta 0 it is sgd, to the bit") {
  float velocity = 0;
  const auto plain = zoq::sgd{.rate = 0.1}.at({.schedule = 0.3});
  const auto heavy = momentum{.rate = 0.1, .beta = 0}.at({.schedule = 0.3});
  for (const float g : uniform(100, 3)) {
    CHECK(heavy(0.7f, g, &velocity) == plain(0.7f, g, nullptr));
  }
}

TEST_CASE("momentum: a steady gradient is worth 1 / (1 - beta) of it") {
  float velocity = 0;
  const auto rule = momentum{.rate = 1, .beta = 0.5}.at({});
  float w = 0;
  for (int t = 0; t < 40; ++t) {
    w = rule(0, 3, &velocity);
  }
  CHECK(w == -6);
}

TEST_CASE("momentum: settings that make no sense are refused") {
  CHECK(message_of([] { (void)momentum{.beta = 1}.at({}); }) ==
        "momentum: beta is 1, wanted a number in [0, 1)");
}
