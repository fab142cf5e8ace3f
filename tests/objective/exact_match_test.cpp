// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/exact_match.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "io/temporary_folder.hpp"

using zoq::exact_match;
using zoq::example;
using zoq::token_t;
using zoq::test::message_of;

static_assert(zoq::best_reading_objective<exact_match>);
static_assert(!zoq::referring_objective<exact_match>);

TEST_CASE("exact_match: 0 where the likeliest token is the right one at every position, else 1") {
  const example row{{1, 2}, {{3, 4, 5}}, 0};
  const auto loss = [&](const std::vector<token_t>& best) {
    CHECK(exact_match::choice(row, {}, best) == (exact_match::loss(row, {}, best) == 0 ? 0 : -1));
    return exact_match::loss(row, {}, best);
  };
  CHECK(loss({3, 4, 5}) == 0);
  CHECK(loss({3, 4, 6}) == 1);
  CHECK(loss({7, 4, 5}) == 1);
  CHECK(loss({4, 3, 5}) == 1);  // order counts
}

TEST_CASE("exact_match: wants one continuation") {
  zoq::packing batch;
  CHECK(message_of([&] {
          exact_match::pack({{1}, {{2}, {3}}, 0}, batch);
        }) == "a row has 2 continuations, wanted 1");
  exact_match::pack({{1, 2}, {{3, 4, 5}}, 0}, batch);
  CHECK(batch.reads.size() == 3);
}
