// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/accuracy.hpp"

#include <doctest/doctest.h>

#include <vector>

using zoq::accuracy;
using zoq::example;

TEST_CASE("accuracy: 0 where the right option is chosen, else 1") {
  const std::vector<double> scores = {-1.25, -0.5, -1.5, -0.25, -0.5, -0.75};
  const auto row = [](zoq::index_t answer) {
    return example{{1, 2}, {{3}, {4, 5}, {6, 7, 8}}, answer};
  };
  // By mean the third of -1.25, -1, -0.5; by sum the first of -1.25, -2, -1.5.
  CHECK(accuracy{}.loss(row(2), scores) == 0);
  CHECK(accuracy{}.loss(row(0), scores) == 1);
  CHECK(accuracy{zoq::option_score::sum}.loss(row(0), scores) == 0);
  CHECK(accuracy{zoq::option_score::sum}.loss(row(2), scores) == 1);
  CHECK(accuracy{}.choice(row(0), scores) == zoq::option_likelihood{}.choice(row(0), scores));
}

TEST_CASE("accuracy: packs as option_likelihood does") {
  const example row{{1, 2}, {{3}, {4, 5}}, 0};
  zoq::packing a, b;
  accuracy::pack(row, a);
  zoq::option_likelihood::pack(row, b);
  CHECK(a.tokens == b.tokens);
  CHECK(a.reads.size() == b.reads.size());
}
