// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/option_likelihood.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::example;
using zoq::index_t;
using zoq::option_likelihood;
using zoq::option_score;
using zoq::packing;
using zoq::test::message_of;

namespace {

// Three options of 1, 2 and 3 tokens.
example row(index_t answer) { return {{1, 2}, {{3}, {4, 5}, {6, 7, 8}}, answer}; }

const std::vector<double> scores = {-1.25, -0.5, -1.5, -0.25, -0.5, -0.75};

// -log softmax(s)[answer], from probabilities.
double direct(const std::vector<double>& s, std::size_t answer) {
  double sum = 0;
  for (const double x : s) {
    sum += std::exp(x);
  }
  return -std::log(std::exp(s[answer]) / sum);
}

}  // namespace

TEST_CASE("option_likelihood: minus log softmax of the options' mean or summed likelihood") {
  const std::vector<double> mean = {-1.25, -1.0, -0.5};
  const std::vector<double> sum = {-1.25, -2.0, -1.5};
  for (const index_t answer : {0, 1, 2}) {
    const auto at = static_cast<std::size_t>(answer);
    // A few roundings of doubles near 1.
    CHECK(option_likelihood{}.loss(row(answer), scores) ==
          doctest::Approx(direct(mean, at)).epsilon(1e-14));
    CHECK(option_likelihood{option_score::sum}.loss(row(answer), scores) ==
          doctest::Approx(direct(sum, at)).epsilon(1e-14));
  }
}

TEST_CASE("option_likelihood: equal options cost log n, and a shared factor costs nothing") {
  const example two{{1}, {{2}, {3}}, 1};
  CHECK(option_likelihood{}.loss(two, std::vector<double>{0, 0}) == std::log(2.0));
  // Far down, where the probabilities themselves vanish in double. Sums near 3000 round to 2^-42.
  CHECK(option_likelihood{}.loss(two, std::vector<double>{-3000, -3000}) ==
        doctest::Approx(std::log(2.0)).epsilon(1e-12));
  CHECK(option_likelihood{}.loss(two, std::vector<double>{-2, -2000}) == 1998);
  CHECK(option_likelihood{}.loss(two, std::vector<double>{-2000, -2}) == 0);
}

TEST_CASE("option_likelihood: a score that is not finite gives no number") {
  const example two{{1}, {{2}, {3}}, 1};
  CHECK(std::isnan(option_likelihood{}.loss(two, std::vector<double>{-1, std::nan("")})));
  CHECK(std::isnan(option_likelihood{}.loss(two, std::vector<double>{std::nan(""), -1})));
}

TEST_CASE("option_likelihood: chooses the best option, the first of equals") {
  CHECK(option_likelihood{}.choice(row(0), scores) == 2);
  CHECK(option_likelihood{option_score::sum}.choice(row(0), scores) == 0);
  const example two{{1}, {{2}, {3}}, 1};
  CHECK(option_likelihood{}.choice(two, std::vector<double>{-1, -1}) == 0);
  CHECK(option_likelihood{}.choice(two, std::vector<double>{-1, -0.5}) == 1);
}

TEST_CASE("option_likelihood: the prompt is packed once for all options") {
  packing batch;
  option_likelihood::pack(row(2), batch);
  CHECK(batch.tokens == std::vector<zoq::token_t>{1, 2, 4, 6, 7});
  REQUIRE(batch.reads.size() == 6);
  const index_t rows[6] = {1, 1, 2, 1, 3, 4};
  const zoq::token_t targets[6] = {3, 4, 5, 6, 7, 8};
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(batch.reads[i].row == rows[i]);
    CHECK(batch.reads[i].target == targets[i]);
  }
  for (std::size_t s = 1; s < batch.segments.size(); ++s) {
    CHECK(batch.segments[s].parent == 0);
    CHECK(batch.segments[s].position == 2);
  }
}

TEST_CASE("option_likelihood: rows that do not suit are refused") {
  packing batch;
  const auto error_of = [&](const example& r) {
    return message_of([&] { option_likelihood::pack(r, batch); });
  };
  CHECK(error_of({{1}, {{2}}, 0}) == "a row has 1 options, wanted at least 2");
  CHECK(error_of({{1}, {{2}, {3}}, 2}) == "answer 2 is outside the 2 options");
  CHECK(error_of({{1}, {{2}, {3}}, -1}) == "answer -1 is outside the 2 options");
  CHECK(batch.empty());
  CHECK(error_of({{1}, {{2}, {}}, 0}) == "a continuation is empty");
}

TEST_CASE("option_likelihood: read weights are the loss's central differences") {
  for (const option_score how : {option_score::mean, option_score::sum}) {
    const option_likelihood objective{how};
    for (const index_t answer : {0, 1, 2}) {
      std::vector<double> weights(scores.size(), 9.0);
      objective.read_weights(row(answer), scores, weights);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        constexpr double h = 1e-5;  // h^2 and the rounding 1e-16 / h stay below 1e-9
        std::vector<double> up = scores, down = scores;
        up[i] += h;
        down[i] -= h;
        const double wanted =
            (objective.loss(row(answer), up) - objective.loss(row(answer), down)) / (2 * h);
        CHECK(std::fabs(weights[i] - wanted) <= 1e-9);
      }
    }
  }
}
