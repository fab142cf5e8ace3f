// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/polyak.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::polyak;
using namespace zoq::test;

TEST_CASE("polyak: with momentum 0 the rate is (L - L*) / |g|^2, to the bit") {
  CHECK(polyak{}.rate({.loss = 3, .gradient_norm2 = 7}) == 3.0 / 7);
  CHECK(polyak{.best = 0.5}.rate({.loss = 3, .gradient_norm2 = 7}) == 2.5 / 7);
  CHECK(polyak{.best = -1}.rate({.loss = 3, .gradient_norm2 = 7}) == 4.0 / 7);
  float velocity = 0;
  const auto rule = polyak{.best = 0.5}.at({.loss = 3, .gradient_norm2 = 7});
  for (const float g : uniform(200, 4)) {
    // One rounding: the product is fused to a velocity of 0.
    const float v = static_cast<float>(2.5 / 7 * static_cast<double>(g));
    velocity = 0.25f;  // of no account
    CHECK(rule(0.0f, g, &velocity) == -v);
    CHECK(velocity == v);
  }
}

TEST_CASE("polyak: on |x| in one dimension a single step reaches the minimum") {
  float velocity = 0;  // the loss |x - 2| + 0.25 at x = 5, its slope 1
  CHECK(polyak{.best = 0.25, .cap = 100}.at({.loss = 3.25, .gradient_norm2 = 1})(5, 1, &velocity) ==
        2);
}

TEST_CASE("polyak: scale, cap and schedule") {
  CHECK(polyak{.scale = 4, .cap = 100}.rate({.loss = 3, .gradient_norm2 = 2}) == 6);
  CHECK(polyak{.scale = 4, .cap = 0.5}.rate({.loss = 3, .gradient_norm2 = 2}) == 0.5);
  CHECK(polyak{.cap = std::numeric_limits<double>::infinity()}.rate(
            {.loss = 3, .gradient_norm2 = 1e-3}) == 3 / 1e-3);
  float velocity = 0;
  CHECK(polyak{}.at({.schedule = 0.5, .loss = 1, .gradient_norm2 = 2})(0, 1, &velocity) == -0.25f);
}

TEST_CASE("polyak: below the best loss, and on an estimate of zero, nothing moves") {
  CHECK(polyak{.best = 4}.rate({.loss = 3, .gradient_norm2 = 2}) == 0);
  CHECK(polyak{}.rate({.loss = 3, .gradient_norm2 = 0}) == 0);
}

TEST_CASE("polyak: momentum keeps a share of the last step, and the sum of steady steps") {
  float velocity = 0;
  const auto rule = polyak{.cap = 10, .beta = 0.5}.at({.loss = 4, .gradient_norm2 = 4});
  CHECK(rule(0, 2, &velocity) == -1);  // (1 - beta) * 1 * 2
  CHECK(rule(0, 2, &velocity) == -1.5f);
  CHECK(rule(0, 2, &velocity) == -1.75f);
}

TEST_CASE("polyak: settings that make no sense are refused") {
  const auto error = [](const polyak& o) { return message_of([&] { (void)o.at({}); }); };
  CHECK(error({.best = std::nan("")}) == "polyak: the best loss is nan");
  CHECK(error({.scale = -1}) == "polyak: the scale is -1, wanted a finite number of at least 0");
  CHECK(error({.cap = -1}) == "polyak: the cap is -1, wanted a number of at least 0");
  CHECK(error({.beta = 1}) == "polyak: beta is 1, wanted a number in [0, 1)");
}
