// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/objectives.hpp"

#include <doctest/doctest.h>

#include <vector>

TEST_CASE("objectives: the chosen one packs, scores and chooses as it does alone") {
  const zoq::example row{{1, 2, 3}, {{4}, {5, 6}}, 1};
  const std::vector<double> scores = {-1.0, -0.5, -0.25};
  const zoq::any_objective options = zoq::option_likelihood{zoq::option_score::sum};
  CHECK(options.chosen() == "option_likelihood");
  CHECK(options.chooses());
  CHECK(options.loss(row, scores) ==
        zoq::option_likelihood{zoq::option_score::sum}.loss(row, scores));
  CHECK(options.choice(row, scores) == 1);
  zoq::packing packed, directly;
  options.pack(row, packed);
  zoq::option_likelihood::pack(row, directly);
  CHECK(packed.tokens == directly.tokens);
  CHECK(packed.reads.size() == directly.reads.size());
}

TEST_CASE("objectives: one that only has a loss chooses nothing") {
  const zoq::example row{{1, 2, 3}, {{4, 5}}, 0};
  const std::vector<double> scores = {-1.0, -2.0};
  const zoq::any_objective next = zoq::next_token{};
  CHECK(!next.chooses());
  CHECK(next.loss(row, scores) == zoq::next_token::loss(row, scores));
  CHECK(next.choice(row, scores) == -1);
}

TEST_CASE("objectives: the chosen one's read weights") {
  const zoq::example row{{1, 2, 3}, {{4}, {5, 6}}, 1};
  const std::vector<double> scores = {-1.0, -0.5, -0.25};
  std::vector<double> chosen(3), alone(3);
  zoq::any_objective(zoq::option_likelihood{}).read_weights(row, scores, chosen);
  zoq::option_likelihood{}.read_weights(row, scores, alone);
  CHECK(chosen == alone);
}
