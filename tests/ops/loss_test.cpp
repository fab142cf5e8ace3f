// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/loss.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

double direct(const std::vector<float>& x) {
  double largest = -HUGE_VAL;
  for (const float v : x) {
    largest = std::fmax(largest, static_cast<double>(v));
  }
  double sum = 0;
  for (const float v : x) {
    sum += std::exp(static_cast<double>(v) - largest);
  }
  return largest + std::log(sum);
}

double log_sum_exp(const std::vector<float>& x) {
  return zoq::log_sum_exp(x.data(), static_cast<index_t>(x.size()));
}

// Around the ends of 16 lanes and of runs of 256.
const index_t lengths[] = {1, 2, 15, 16, 17, 31, 33, 255, 256, 257, 272, 1000, 5000};

}  // namespace

TEST_CASE("log_sum_exp: one value is itself, equal values add the log of their number") {
  CHECK(log_sum_exp({-3.25f}) == -3.25);
  for (const index_t n : lengths) {
    // The exponentials are exactly 1, and their sums exact.
    CHECK(log_sum_exp(std::vector<float>(at(n), 2.0f)) == 2.0 + std::log(static_cast<double>(n)));
  }
}

TEST_CASE("log_sum_exp: against the formula in double") {
  for (const index_t n : lengths) {
    CAPTURE(n);
    for (const double size : {1.0, 30.0}) {
      const std::vector<float> x = uniform(n, 1, -size, size);
      // 2^-22 of exp_f32 and a few roundings of float sums, as an error of the logarithm.
      CHECK(std::fabs(log_sum_exp(x) - direct(x)) <= 1e-6);
    }
  }
}

TEST_CASE("log_sum_exp: the largest value is found wherever it stands, and nothing overflows") {
  for (const index_t n : {1, 16, 17, 300}) {
    for (index_t place = 0; place < n; ++place) {
      std::vector<float> x = uniform(n, 2);
      x[at(place)] = 3e4f;
      CHECK(log_sum_exp(x) == 3e4);
    }
  }
  const std::vector<float> low(20, -1e30f);
  CHECK(log_sum_exp(low) == doctest::Approx(-1e30));
  const float infinite = std::numeric_limits<float>::infinity();
  CHECK(log_sum_exp({-infinite, 1.0f, -infinite}) == doctest::Approx(1.0));
}

TEST_CASE("log_sum_exp: a value that is no number shows in the result") {
  for (const index_t n : {1, 17, 40}) {
    for (index_t place = 0; place < n; ++place) {
      std::vector<float> x = uniform(n, 3);
      x[at(place)] = std::nanf("");
      CHECK(std::isnan(log_sum_exp(x)));
    }
  }
  CHECK_FALSE(std::isfinite(log_sum_exp({1.0f, HUGE_VALF})));
}

TEST_CASE_TEMPLATE("log_normalisers: every row's own", X, ZOQ_TEST_EXECUTORS) {
  constexpr index_t rows = 9, columns = 300;
  const std::vector<float> logits = uniform(rows * columns, 4, -5, 5);
  std::vector<double> normaliser(at(rows)), wanted;
  zoq::log_normalisers(X{}, matrix(logits, rows, columns), {normaliser.data(), {rows}});
  for (index_t r = 0; r < rows; ++r) {
    const auto first = logits.begin() + r * columns;
    wanted.push_back(direct({first, first + columns}));
  }
  CHECK(largest_difference(normaliser, wanted) <= 1e-6);
  CHECK(message_of([&] {
          zoq::log_normalisers(X{}, matrix(logits, rows, columns), {normaliser.data(), {2}});
        }) == "log_normalisers: 2 places for 9 rows of 300");
}

TEST_CASE_TEMPLATE("log_likelihoods: a logit less its row's normaliser, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  constexpr index_t rows = 9, columns = 300;
  const std::vector<float> logits = uniform(rows * columns, 4, -5, 5);
  const auto view = matrix(logits, rows, columns);
  std::vector<double> normaliser(at(rows));
  zoq::log_normalisers(X{}, view, {normaliser.data(), {rows}});
  const std::vector<zoq::likelihood_place> places = {{8, 299}, {0, 0}, {3, 7}, {3, 8}, {3, 7}};
  std::vector<double> found(places.size());
  const auto n = static_cast<index_t>(places.size());
  zoq::log_likelihoods(X{}, view, {normaliser.data(), {rows}}, {places.data(), {n}},
                       {found.data(), {n}});
  for (std::size_t i = 0; i < places.size(); ++i) {
    const zoq::likelihood_place at = places[i];
    CHECK(found[i] == static_cast<double>(view(at.row, at.target)) -
                          normaliser[static_cast<std::size_t>(at.row)]);
  }
  CHECK(message_of([&] {
          zoq::log_likelihoods(X{}, view, {normaliser.data(), {rows}}, {places.data(), {n}},
                               {found.data(), {2}});
        }) == "log_likelihoods: 9 normalisers for 9 rows, 2 likelihoods for 5 places");
}

TEST_CASE_TEMPLATE("largest_logits: the first of the largest of every row", X, ZOQ_TEST_EXECUTORS) {
  constexpr index_t rows = 7;
  for (const index_t columns : {1, 5, 256, 300, 1000}) {
    CAPTURE(columns);
    std::vector<float> logits = uniform(rows * columns, 4, -5, 5);
    for (index_t r = 1; r < rows; ++r) {  // equal ones, also of one thread and of several
      for (const index_t c : {columns - 1, columns / 2, r, r + 256}) {
        if (c < columns) {
          logits[static_cast<std::size_t>(r * columns + c)] = 6;
        }
      }
    }
    std::vector<zoq::token_t> best(static_cast<std::size_t>(rows)), wanted;
    zoq::largest_logits(X{}, matrix(logits, rows, columns), {best.data(), {rows}});
    for (index_t r = 0; r < rows; ++r) {
      const auto first = logits.begin() + r * columns;
      wanted.push_back(static_cast<zoq::token_t>(std::max_element(first, first + columns) - first));
    }
    CHECK(best == wanted);
    CHECK(message_of([&] {
            zoq::largest_logits(X{}, matrix(logits, rows, columns), {best.data(), {2}});
          }) == zoq::text("largest_logits: 2 places for 7 rows of ", columns));
  }
}
