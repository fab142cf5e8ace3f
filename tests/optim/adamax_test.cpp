// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/adamax.hpp"

#include <doctest/doctest.h>

#include "io/temporary_folder.hpp"
#include "optim/follow.hpp"
#include "optim/reference.hpp"

using zoq::adamax;
using namespace zoq::test;

TEST_CASE("adamax: within 1e-6 of a reference in double over 1000 steps") {
  // As for adam: floats of at most about 0.3, rounded 1000 times.
  CHECK(farthest(adamax{.rate = 1e-3}, [] { return adamax_reference{.rate = 1e-3}; }) <= 1e-6);
  CHECK(farthest(adamax{.rate = 1e-3, .beta1 = 0.5, .beta2 = 0.9}, [] {
          return adamax_reference{.rate = 1e-3, .beta1 = 0.5, .beta2 = 0.9};
        }) <= 1e-6);
}

TEST_CASE("adamax: a value whose gradients are zero does not move") {
  float state[2] = {0, 0};
  CHECK(adamax{.rate = 1}.at({})(0.5f, 0, state) == 0.5f);
  CHECK(adamax{.rate = 1}.at({})(0.5f, 2, state) == -0.5f);  // the first step is the rate
  CHECK(state[1] == 2);
}

TEST_CASE("adamax: settings that make no sense are refused") {
  CHECK(message_of([] { (void)adamax{.rate = -1}.at({}); }) ==
        "adamax: the rate is -1, wanted a finite number of at least 0");
  CHECK(message_of([] { (void)adamax{.beta2 = -0.1}.at({}); }) ==
        "adamax: beta2 is -0.1, wanted a number in [0, 1)");
}
