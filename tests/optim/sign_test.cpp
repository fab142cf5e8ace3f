// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/sign.hpp"

#include <doctest/doctest.h>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::sign_descent;
using namespace zoq::test;

TEST_CASE("sign: every value moves by the rate, whatever the size of its gradient") {
  const auto rule = sign_descent{.rate = 0.5}.at({.schedule = 0.5});
  for (const float g : uniform(100, 6, 1e-9, 1e9)) {
    CHECK(rule(1, g, nullptr) == 0.75f);
    CHECK(rule(1, -g, nullptr) == 1.25f);
  }
  CHECK(rule(1, 0.0f, nullptr) == 1);
  CHECK(rule(1, -0.0f, nullptr) == 1);
}

TEST_CASE("sign: settings that make no sense are refused") {
  CHECK(message_of([] { (void)sign_descent{.rate = -1}.at({}); }) ==
        "sign: the rate is -1, wanted a finite number of at least 0");
}
