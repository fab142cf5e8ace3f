// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/sgd.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::sgd;
using zoq::test::message_of;

TEST_CASE("sgd: w - rate * schedule * g, rounded once") {
  const auto w = zoq::test::uniform(1000, 1);
  const auto g = zoq::test::uniform(1000, 2);
  const auto rule = sgd{.rate = 0.1}.at({.schedule = 0.3});
  const double rate = static_cast<double>(static_cast<float>(0.1 * 0.3));
  int wrong = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    // The product is exact in double, the sum all but: rounding twice shows only at ties.
    const double wanted = static_cast<double>(w[i]) - rate * static_cast<double>(g[i]);
    wrong += rule(w[i], g[i], nullptr) != static_cast<float>(wanted);
  }
  CHECK(wrong == 0);
}

TEST_CASE("sgd: a rate of 0, or a schedule's end, leaves every value as it is") {
  for (const auto rule : {sgd{.rate = 0}.at({}), sgd{.rate = 1}.at({.schedule = 0})}) {
    for (const float w : {1.0f, -0.1f, 0.0f, -0.0f, 1e-40f}) {
      for (const float g : {3.0f, -3.0f, 0.0f}) {
        CHECK(rule(w, g, nullptr) == w);
      }
    }
  }
}

TEST_CASE("sgd: rates that make no sense are refused") {
  const auto error_of = [](double rate) {
    return message_of([&] { (void)sgd{.rate = rate}.at({}); });
  };
  CHECK(error_of(-1) == "sgd: the rate is -1, wanted a finite number of at least 0");
  CHECK(error_of(std::nan("")) == "sgd: the rate is nan, wanted a finite number of at least 0");
  CHECK(error_of(HUGE_VAL) == "sgd: the rate is inf, wanted a finite number of at least 0");
}
