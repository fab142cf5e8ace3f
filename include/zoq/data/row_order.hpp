// Which rows are in which batch: a function of (seed, batch number), so that a record replays, a
// resumed run goes on exactly, and an estimator may name another batch.
//
//     zoq::row_order order(rows, 16, seed);
//     std::vector<index_t> at = order.batch(7);    // 16 row numbers
//     zoq::row_order even(rows, 16, seed, answers);  // and each batch has each answer in its share
//
// Batches walk through one permutation after another: each row comes once in an epoch. A batch may
// end one epoch and begin the next. With strata, the rows of a stratum are spread evenly over an epoch,
// so that a small batch has the proportions of the whole: what strata differ in (a model that prefers
// one answer) no longer comes and goes with the draw. Stratified sampling is Neyman's, Journal of the
// Royal Statistical Society 97(4), 1934.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

class row_order {
 public:
  /// strata: [rows] the stratum of each, or nothing: all in one. Throws when there are no rows, the batch
  /// size is not positive, or there are strata for another number of rows.
  row_order(index_t rows, index_t batch_size, seed_t seed, std::vector<index_t> strata = {});

  /// Row numbers of a batch. Cost: a permutation of all rows at the start of an epoch.
  [[nodiscard]] std::vector<index_t> batch(std::uint64_t number);

 private:
  const std::vector<index_t>& epoch(std::uint64_t number);

  // The i-th row of a stratum of n comes at (2 i + 1) / (2 n) of the epoch; rows that meet there stay
  // in the permutation's order.
  [[nodiscard]] std::vector<index_t> spread(std::vector<index_t> order) const;

  index_t rows_, batch_size_;
  seed_t seed_;
  std::vector<index_t> strata_;       // [rows] or empty
  std::map<index_t, index_t> sizes_;  // rows of each stratum
  std::map<std::uint64_t, std::vector<index_t>> epochs_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/random/permutation.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY row_order::row_order(index_t rows, index_t batch_size, seed_t seed,
                              std::vector<index_t> strata)
    : rows_(rows), batch_size_(batch_size), seed_(seed), strata_(std::move(strata)) {
  require(rows > 0, "row_order: there are no rows");
  require(batch_size > 0, "row_order: batch size ", batch_size, ", wanted at least 1");
  require(strata_.empty() || static_cast<index_t>(strata_.size()) == rows,
          "row_order: ", strata_.size(), " strata for ", rows, " rows");
  for (const index_t s : strata_) {
    ++sizes_[s];
  }
}

ZOQ_BODY std::vector<index_t> row_order::batch(std::uint64_t number) {
  std::vector<index_t> out;
  const auto rows = static_cast<std::uint64_t>(rows_);
  for (index_t i = 0; i < batch_size_; ++i) {
    const std::uint64_t place =
        number * static_cast<std::uint64_t>(batch_size_) + static_cast<std::uint64_t>(i);
    out.push_back(epoch(place / rows)[static_cast<std::size_t>(place % rows)]);
  }
  return out;
}

ZOQ_BODY const std::vector<index_t>& row_order::epoch(std::uint64_t number) {
  const auto found = epochs_.find(number);
  if (found != epochs_.end()) {
    return found->second;
  }
  if (epochs_.size() >= 4) {  // a batch touches few epochs
    epochs_.clear();
  }
  return epochs_[number] = spread(permutation(rows_, derive_seed(seed_, purpose::rows, number)));
}

ZOQ_BODY std::vector<index_t> row_order::spread(std::vector<index_t> order) const {
  if (sizes_.size() < 2) {
    return order;
  }
  std::map<index_t, index_t> seen;
  std::vector<std::pair<double, index_t>> at;
  for (const index_t row : order) {
    const index_t stratum = strata_[static_cast<std::size_t>(row)];
    at.emplace_back(
        static_cast<double>(2 * seen[stratum]++ + 1) / static_cast<double>(2 * sizes_.at(stratum)),
        row);
  }
  std::stable_sort(at.begin(), at.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = at[i].second;
  }
  return order;
}

}  // namespace zoq

#endif
