// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/next_token.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "io/temporary_folder.hpp"

using zoq::example;
using zoq::next_token;
using zoq::packing;
using zoq::test::message_of;

static_assert(!zoq::choosing_objective<next_token>);

TEST_CASE("next_token: the mean negative log-likelihood") {
  // Halves and quarters: exact.
  CHECK(next_token::loss({}, std::vector<double>{-1.5}) == 1.5);
  CHECK(next_token::loss({}, std::vector<double>{-1, -0.5, -2.5, -4}) == 2);
}

TEST_CASE("next_token: reads the continuation's tokens after the prompt, row after row") {
  packing batch;
  next_token::pack({{1, 2}, {{3, 4, 5}}, 0}, batch);
  next_token::pack({{6}, {{7}}, 0}, batch);
  CHECK(batch.tokens == std::vector<zoq::token_t>{1, 2, 3, 4, 6});
  REQUIRE(batch.reads.size() == 4);
  CHECK(batch.reads[0].row == 1);
  CHECK(batch.reads[0].target == 3);
  CHECK(batch.reads[2].row == 3);
  CHECK(batch.reads[2].target == 5);
  CHECK(batch.reads[3].row == 4);
  CHECK(batch.reads[3].target == 7);
}

TEST_CASE("next_token: wants one continuation") {
  packing batch;
  const auto error_of = [&](const example& row) {
    return message_of([&] { next_token::pack(row, batch); });
  };
  CHECK(error_of({{1}, {}, 0}) == "a row has 0 continuations, wanted 1");
  CHECK(error_of({{1}, {{2}, {3}}, 0}) == "a row has 2 continuations, wanted 1");
  CHECK(error_of({{1}, {{}}, 0}) == "a continuation is empty");
  CHECK(error_of({{}, {{2}}, 0}).find("is empty") != std::string::npos);
}

TEST_CASE("next_token: every read weighs -1/n") {
  std::vector<double> weights(4, 9.0);
  next_token::read_weights({}, std::vector<double>{-1, -0.5, -2.5, -4}, weights);
  CHECK(weights == std::vector<double>(4, -0.25));
}
