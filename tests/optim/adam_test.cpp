// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/adam.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "io/temporary_folder.hpp"
#include "optim/follow.hpp"
#include "optim/reference.hpp"

using zoq::adam;
using namespace zoq::test;

// Values are floats of at most about 0.3: rounding them 1000 times, each time by at most 2^-26, and
// the two moments by 2^-25 of themselves, stays below.
TEST_CASE("adam: within 1e-6 of a reference in double over 1000 steps") {
  CHECK(farthest(adam{.rate = 1e-3}, [] { return adam_reference{.rate = 1e-3}; }) <= 1e-6);
  CHECK(farthest(adam{.rate = 1e-3, .beta1 = 0.8, .beta2 = 0.99, .epsilon = 1e-3}, [] {
          return adam_reference{.rate = 1e-3, .beta1 = 0.8, .beta2 = 0.99, .epsilon = 1e-3};
        }) <= 1e-6);
}

TEST_CASE("adam: the same with weight decay, apart from the gradient") {
  CHECK(farthest(adam{.rate = 1e-3, .weight_decay = 0.1},
                 [] { return adam_reference{.rate = 1e-3, .decay = 0.1}; }) <= 1e-6);
}

TEST_CASE("adam: the first step is the rate against the gradient's sign, whatever its size") {
  for (const float g : {1e-3f, 1.0f, -50.0f}) {
    float state[2] = {0, 0};
    const float w = adam{.rate = 0.25}.at({}).operator()(0, g, state);
    // epsilon is 1e-5 of the smallest gradient.
    CHECK(w == doctest::Approx(g > 0 ? -0.25 : 0.25).epsilon(2e-5));
  }
}

TEST_CASE("adam: weight decay alone pulls offsets to zero, that is to the base") {
  float state[2] = {0, 0};
  float w = 1;
  for (std::uint64_t t = 0; t < 20; ++t) {
    w = adam{.rate = 0.5, .weight_decay = 0.5}.at({.step = t})(w, 0, state);
  }
  CHECK(w == doctest::Approx(std::pow(0.75, 20)).epsilon(1e-5));
}

TEST_CASE("adam: a rate of 0 leaves every value as it is") {
  float state[2] = {0.5f, 0.25f};
  for (const float w : {1.0f, -0.1f, 0.0f, 1e-40f}) {
    CHECK(adam{.rate = 0, .weight_decay = 1}.at({.step = 3})(w, 2, state) == w);
  }
}

TEST_CASE("adam: settings that make no sense are refused") {
  const auto error = [](const adam& o) { return message_of([&] { (void)o.at({}); }); };
  CHECK(error({.rate = -1}) == "adam: the rate is -1, wanted a finite number of at least 0");
  CHECK(error({.beta1 = 1}) == "adam: beta1 is 1, wanted a number in [0, 1)");
  CHECK(error({.beta2 = std::nan("")}) == "adam: beta2 is nan, wanted a number in [0, 1)");
  CHECK(error({.epsilon = 0}) ==
        "adam: the epsilon is 0, wanted a finite number of at least 1e-30");
  CHECK(error({.weight_decay = HUGE_VAL}) ==
        "adam: the weight_decay is inf, wanted a finite number of at least 0");
}
