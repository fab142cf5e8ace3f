// The best table of K values for weighted values on a line: it makes
//
//     sum_i weight[i] (x[i] - nearest entry of the table)^2
//
// as small as any table can (but for the entries' rounding to float): k-means in one dimension, exact.
//
//     zoq::best_table(x, importance, columns, table);       // table: [K], ascending
//     int code = zoq::nearest_entry(table, x[3]);
//
// Sorted values fall into runs, one for each entry, and where the last run of a best cut of the first j
// values begins never moves back as j grows. So each of the K rows of the dynamic program takes
// O(n log n): Wu, "Optimal quantization by matrix searching", Journal of Algorithms 12 (1991);
// Wang and Song, "Ckmeans.1d.dp", The R Journal 3 (2011).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "zoq/core/config.hpp"

namespace zoq {

namespace detail {

/// best_table for a table of `entries`.
void fill_best_table(const float* x, const float* importance, index_t columns, float* table,
                     index_t entries);

}  // namespace detail

/// x: [columns], finite; importance: [columns], none negative, or null: all 1. Values of importance 0
/// do not count. Where fewer than K values differ, the last is repeated; where none counts, the table is
/// zeros. About K n log2(n) evaluations of a few operations, 28 n + 4 K n bytes.
template <std::size_t K>
void best_table(const float* x, const float* importance, index_t columns, float (&table)[K]) {
  detail::fill_best_table(x, importance, columns, table, static_cast<index_t>(K));
}

/// The number of the entry next to x; the lower of two as near. table: ascending.
template <std::size_t K>
int nearest_entry(const float (&table)[K], float x) {
  int found = 0;
  for (std::size_t k = 0; k + 1 < K; ++k) {
    const double middle = static_cast<double>(table[k]) + static_cast<double>(table[k + 1]);
    found += static_cast<int>(2 * static_cast<double>(x) > middle);
  }
  return found;
}

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace zoq::detail {

// Distinct values with their weights, ascending, and sums over their first i.
struct weighted_line {
  std::vector<float> value;                   // [n]
  std::vector<double> weight, first, second;  // [n + 1]: of w, w (x - origin), w (x - origin)^2
  double origin = 0;

  weighted_line(const float* x, const float* importance, index_t columns) {
    std::vector<std::pair<float, double>> all;
    all.reserve(static_cast<std::size_t>(columns));
    for (index_t i = 0; i < columns; ++i) {
      const double w = importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
      if (w > 0) {
        all.emplace_back(x[i], w);
      }
    }
    std::sort(all.begin(), all.end());
    if (!all.empty()) {
      // Near the middle of most weights: differences of squares then keep their digits.
      origin = static_cast<double>(all[all.size() / 2].first);
    }
    weight = first = second = {0.0};
    for (const auto& [v, w] : all) {
      if (value.empty() || v != value.back()) {
        value.push_back(v);
        weight.push_back(weight.back());
        first.push_back(first.back());
        second.push_back(second.back());
      }
      const double from = static_cast<double>(v) - origin;
      weight.back() += w;
      first.back() += w * from;
      second.back() += w * from * from;
    }
  }

  [[nodiscard]] index_t count() const { return static_cast<index_t>(value.size()); }
  /// The error of one entry for values [begin, end).
  [[nodiscard]] double error(index_t begin, index_t end) const {
    const auto b = static_cast<std::size_t>(begin), e = static_cast<std::size_t>(end);
    const double w = weight[e] - weight[b], s = first[e] - first[b];
    return std::max(0.0, second[e] - second[b] - s * s / w);
  }
  /// The best entry for them: exact where they are one.
  [[nodiscard]] float entry(index_t begin, index_t end) const {
    const auto b = static_cast<std::size_t>(begin), e = static_cast<std::size_t>(end);
    return end == begin + 1
               ? value[b]
               : static_cast<float>(origin + (first[e] - first[b]) / (weight[e] - weight[b]));
  }
};

// One row of the dynamic program: now[j] = min over i of before[i] + error(i, j), for j in [begin, end],
// where the best i lies in [low, high].
struct cut_row {
  const weighted_line& line;
  const std::vector<double>& before;
  std::vector<double>& now;
  std::vector<std::int32_t>& cut;  // the best i

  void fill(index_t begin, index_t end, index_t low, index_t high) const {
    if (begin > end) {
      return;
    }
    const index_t j = begin + (end - begin) / 2;
    double least = std::numeric_limits<double>::infinity();
    index_t best = low;
    for (index_t i = low; i <= std::min(high, j - 1); ++i) {
      const double e = before[static_cast<std::size_t>(i)] + line.error(i, j);
      if (e < least) {
        least = e;
        best = i;
      }
    }
    now[static_cast<std::size_t>(j)] = least;
    cut[static_cast<std::size_t>(j)] = static_cast<std::int32_t>(best);
    fill(begin, j - 1, low, best);
    fill(j + 1, end, best, high);
  }
};

ZOQ_BODY void fill_best_table(const float* x, const float* importance, index_t columns,
                              float* table, index_t entries) {
  const weighted_line line(x, importance, columns);
  const index_t n = line.count();
  if (n <= entries) {
    for (index_t k = 0; k < entries; ++k) {
      table[k] = n == 0 ? 0.0f : line.value[static_cast<std::size_t>(std::min(k, n - 1))];
    }
    return;
  }
  std::vector<double> before(static_cast<std::size_t>(n + 1)), now(before.size());
  std::vector<std::vector<std::int32_t>> cuts(static_cast<std::size_t>(entries),
                                              std::vector<std::int32_t>(before.size()));
  for (index_t j = 1; j <= n; ++j) {
    before[static_cast<std::size_t>(j)] = line.error(0, j);
  }
  for (index_t k = 1; k < entries; ++k) {  // the first j values in k + 1 runs, none empty
    cut_row{line, before, now, cuts[static_cast<std::size_t>(k)]}.fill(k + 1, n, k, n - 1);
    std::swap(before, now);
  }
  index_t end = n;
  for (index_t k = entries - 1; k >= 0; --k) {
    const index_t begin =
        k == 0 ? 0 : cuts[static_cast<std::size_t>(k)][static_cast<std::size_t>(end)];
    table[k] = line.entry(begin, end);
    end = begin;
  }
}

}  // namespace zoq::detail

#endif
