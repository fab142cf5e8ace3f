// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/normalised.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "ops/samples.hpp"
#include "zoq/optim/apply.hpp"

using zoq::index_t;
using zoq::normalised;
using namespace zoq::test;

TEST_CASE_TEMPLATE("normalised: every step is the rate long, along the estimate", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t k = 1000;
  const zoq::extent whole{0, 1, k};
  for (const double size : {1e-6, 1.0, 1e6}) {
    const std::vector<float> g = uniform(k, 5, -size, size);
    std::vector<float> w(at(k));
    zoq::apply_optimizer(exec, normalised{.rate = 0.25}, {&whole, 1, k}, {.schedule = 0.5},
                         g.data(), nullptr, w.data());
    double norm2 = 0, along = 0, length2 = 0;
    for (index_t i = 0; i < k; ++i) {
      const auto x = static_cast<double>(g[at(i)]), y = static_cast<double>(w[at(i)]);
      norm2 += x * x;
      along -= x * y;
      length2 += y * y;
    }
    // Floats near 0.125 / sqrt(1000), rounded to 2^-24 of themselves.
    CHECK(std::sqrt(length2) == doctest::Approx(0.125).epsilon(1e-7));
    CHECK(along / std::sqrt(norm2) == doctest::Approx(0.125).epsilon(1e-7));
  }
}

TEST_CASE("normalised: an estimate of zero moves nothing") {
  CHECK(normalised{.rate = 1}.at({.gradient_norm2 = 0})(0.5f, 0, nullptr) == 0.5f);
}

TEST_CASE("normalised: settings that make no sense are refused") {
  CHECK(message_of([] { (void)normalised{.rate = -1}.at({}); }) ==
        "normalised: the rate is -1, wanted a finite number of at least 0");
}
