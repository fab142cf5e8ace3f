// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/f1.hpp"

#include <doctest/doctest.h>

#include <vector>

using zoq::example;
using zoq::f1;
using zoq::token_t;

static_assert(zoq::best_reading_objective<f1>);
static_assert(!zoq::choosing_objective<f1>);

TEST_CASE("f1: one less the share of tokens that are among the guesses, as often as there") {
  const example row{{1}, {{3, 4, 4, 5}}, 0};
  const auto loss = [&](const std::vector<token_t>& best) { return f1::loss(row, {}, best); };
  CHECK(loss({3, 4, 4, 5}) == 0);
  CHECK(loss({5, 4, 3, 4}) == 0);  // whatever the order
  CHECK(loss({6, 7, 8, 9}) == 1);
  CHECK(loss({4, 4, 4, 4}) == 0.5);  // two of them count
  CHECK(loss({3, 3, 3, 3}) == 0.75);
  CHECK(loss({3, 4, 0, 0}) == 0.5);
}

TEST_CASE("f1: the harmonic mean of precision and recall, which are the same here") {
  const example row{{1}, {{3, 4, 5}}, 0};
  const double precision = 2.0 / 3, recall = 2.0 / 3;
  CHECK(f1::loss(row, {}, std::vector<token_t>{5, 9, 3}) ==
        doctest::Approx(1 - 2 * precision * recall / (precision + recall)).epsilon(1e-15));
}
