// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/gelu.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "samples.hpp"

using zoq::index_t;
using namespace zoq::test;

TEST_CASE_TEMPLATE("gelu: the formula with the tangent, around the ends of runs", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const index_t n : {1, 63, 64, 65, 200}) {
    std::vector<float> x = uniform(n, 1, -8, 8);
    std::vector<double> wanted;
    for (const float value : x) {
      const auto v = static_cast<double>(value);
      const double u = std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v);
      wanted.push_back(0.5 * v * (1 + std::tanh(u)));
    }
    zoq::gelu(exec, matrix(x, 1, n));
    // A relative 2^-22 of the exponential, and the argument's roundings: of values up to 8.
    CHECK(largest_difference(x, wanted) <= 2e-6);
  }
}

TEST_CASE("gelu: far from zero it is the identity or zero, and never not a number") {
  std::vector<float> x = {0, 1e30f, -1e30f, 30, -30};
  zoq::gelu(zoq::serial{}, matrix(x, 1, 5));
  CHECK(x[0] == 0);
  CHECK(x[1] == 1e30f);
  CHECK(std::fabs(x[2]) <= 1e-7f);
  CHECK(x[3] == 30);
  CHECK(std::fabs(x[4]) <= 1e-30f);
}
