// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/rademacher.hpp"
#include "zoq/random/philox.hpp"

#include <doctest/doctest.h>

#include <cmath>

using zoq::float4v;
using zoq::rademacher;

TEST_CASE("rademacher: the top bits of Random123's known answer") {
  // 6627e8d5 e169c58d bc57ac4c 9b00dbd8
  const float4v z = rademacher::at(0, {}).four(0);
  CHECK(z.at[0] == -1.0f);
  CHECK(z.at[1] == 1.0f);
  CHECK(z.at[2] == 1.0f);
  CHECK(z.at[3] == 1.0f);
}

TEST_CASE("rademacher: exactly plus and minus one, in equal numbers") {
  double sum = 0;
  int others = 0, wrong = 0;
  constexpr int blocks = 50000;
  for (zoq::index_t b = 0; b < blocks; ++b) {
    const float4v z = rademacher::at(5, {}).four(b);
    const zoq::words4 w = zoq::philox(5, static_cast<std::uint64_t>(b));
    for (int j = 0; j < 4; ++j) {
      others += std::fabs(z.at[j]) != 1.0f;
      wrong += (z.at[j] > 0) != (w.at[j] >= 0x80000000u);
      sum += static_cast<double>(z.at[j]);
    }
  }
  CHECK(others == 0);
  CHECK(wrong == 0);
  CHECK(std::fabs(sum) < 4 * std::sqrt(4.0 * blocks));  // four standard deviations, fixed seed
}
