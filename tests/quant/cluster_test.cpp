// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "random_values.hpp"

using namespace zoq::test;
using zoq::index_t;

namespace {

template <std::size_t K>
double error_of(const float (&table)[K], const std::vector<float>& x, const float* importance) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const float entry : table) {
      const double off = static_cast<double>(x[i]) - static_cast<double>(entry);
      least = std::min(least, off * off);
    }
    sum += least * (importance == nullptr ? 1.0 : static_cast<double>(importance[i]));
  }
  return sum;
}

// The least error of K runs of sorted values by the plain dynamic program: every cut is tried.
double plain_least(std::vector<std::pair<float, float>> all, int entries) {
  std::sort(all.begin(), all.end());
  const std::size_t n = all.size();
  const auto run = [&](std::size_t begin, std::size_t end) {
    double w = 0, mean = 0, sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
      w += static_cast<double>(all[i].second);
      mean += static_cast<double>(all[i].second) * static_cast<double>(all[i].first);
    }
    mean = w > 0 ? mean / w : 0;
    for (std::size_t i = begin; i < end; ++i) {
      const double off = static_cast<double>(all[i].first) - mean;
      sum += static_cast<double>(all[i].second) * off * off;
    }
    return sum;
  };
  std::vector<double> before(n + 1, std::numeric_limits<double>::infinity());
  before[0] = 0;
  for (int k = 0; k < entries; ++k) {
    std::vector<double> now(n + 1);
    for (std::size_t j = 1; j <= n; ++j) {
      now[j] = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < j; ++i) {
        now[j] = std::min(now[j], before[i] + run(i, j));
      }
    }
    before = now;
    before[0] = 0;
  }
  return before[n];
}

// Lloyd's iteration from quantiles of the values.
template <std::size_t K>
void lloyd(const std::vector<float>& x, const float* importance, float (&table)[K]) {
  std::vector<float> sorted = x;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t k = 0; k < K; ++k) {
    table[k] = sorted[(2 * k + 1) * sorted.size() / (2 * K)];
  }
  for (int round = 0; round < 300; ++round) {
    double w[K] = {}, sum[K] = {};
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto k = static_cast<std::size_t>(zoq::nearest_entry(table, x[i]));
      const double weight = importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
      w[k] += weight;
      sum[k] += weight * static_cast<double>(x[i]);
    }
    for (std::size_t k = 0; k < K; ++k) {
      table[k] = w[k] > 0 ? static_cast<float>(sum[k] / w[k]) : table[k];
    }
  }
}

}  // namespace

TEST_CASE("best_table: errs as little as the best of all cuts") {
  for (const index_t n : {5, 17, 60}) {
    for (const bool weighted : {false, true}) {
      CAPTURE(n);
      CAPTURE(weighted);
      const std::vector<float> x = uniform(n, static_cast<zoq::seed_t>(n), -2, 3);
      std::vector<float> importance = uniform(n, 8, 0, 1);
      importance[2] = 0;
      std::vector<std::pair<float, float>> all;
      for (std::size_t i = 0; i < x.size(); ++i) {
        all.emplace_back(x[i], weighted ? importance[i] : 1.0f);
      }
      const float* w = weighted ? importance.data() : nullptr;
      float table[4];
      zoq::best_table(x.data(), w, n, table);
      CHECK(std::is_sorted(std::begin(table), std::end(table)));
      // The entries are rounded to float: 2^-24 of 3, squared, for each value.
      CHECK(std::fabs(error_of(table, x, w) - plain_least(all, 4)) <
            1e-6 * error_of(table, x, w) + 1e-12);
    }
  }
}

TEST_CASE("best_table: errs no more than Lloyd's iteration") {
  for (zoq::seed_t seed = 1; seed <= 6; ++seed) {
    const index_t n = seed == 6 ? 4096 : 576;
    std::vector<float> x = uniform(n, seed), importance = uniform(n, seed + 10, 0, 1);
    for (float& v : x) {
      v = v * v * v;  // more of them near 0
    }
    for (float& w : importance) {
      w = w * w * w * w;
    }
    float best[16], found[16];
    zoq::best_table(x.data(), importance.data(), n, best);
    lloyd(x, importance.data(), found);
    CHECK(error_of(best, x, importance.data()) <=
          error_of(found, x, importance.data()) * (1 + 1e-9));
  }
}

TEST_CASE("best_table: few values are kept as they are, values of no importance do not count") {
  const std::vector<float> x = {3, -1, 3, 0.1f, -1, 7};
  float table[4];
  zoq::best_table(x.data(), nullptr, 6, table);
  CHECK(std::vector<float>(table, table + 4) == std::vector<float>{-1, 0.1f, 3, 7});
  const std::vector<float> importance = {1, 1, 0, 0, 2, 0};
  zoq::best_table(x.data(), importance.data(), 6, table);
  CHECK(std::vector<float>(table, table + 4) == std::vector<float>{-1, 3, 3, 3});
  const std::vector<float> none(6);
  zoq::best_table(x.data(), none.data(), 6, table);
  CHECK(std::vector<float>(table, table + 4) == std::vector<float>(4));
}

TEST_CASE("best_table: values far from 0 lose no digits") {
  std::vector<float> x = uniform(500, 3), far = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = std::round(x[i] * 1024) / 1024;
    far[i] = x[i] + 4096;
  }
  float table[8], moved[8];
  zoq::best_table(x.data(), nullptr, 500, table);
  zoq::best_table(far.data(), nullptr, 500, moved);
  for (int k = 0; k < 8; ++k) {
    CHECK(std::fabs(moved[k] - 4096 - table[k]) <= 0x1p-11f);  // half a unit of a float near 4096
  }
}

TEST_CASE("nearest_entry: the lower of two as near") {
  const float table[4] = {-1, 0, 2, 2};
  const std::vector<std::pair<float, int>> wanted = {{-5, 0},   {-0.5f, 0}, {-0.4f, 1}, {1, 1},
                                                     {1.1f, 2}, {2, 2},     {9, 3}};
  for (const auto& [x, entry] : wanted) {
    CAPTURE(x);
    CHECK(zoq::nearest_entry(table, x) == entry);
  }
}
