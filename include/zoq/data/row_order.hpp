// Which rows are in which batch: a function of (seed, batch number), so that a record replays, a
// resumed run goes on exactly, and an estimator may name another batch.
//
//     zoq::row_order order(rows, 16, seed);
//     std::vector<index_t> at = order.batch(7);    // 16 row numbers
//
// Batches walk through one permutation after another: each row comes once in an epoch. A batch may
// end one epoch and begin the next.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/random/permutation.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

class row_order {
 public:
  /// Throws when there are no rows or the batch size is not positive.
  row_order(index_t rows, index_t batch_size, seed_t seed)
      : rows_(rows), batch_size_(batch_size), seed_(seed) {
    require(rows > 0, "row_order: there are no rows");
    require(batch_size > 0, "row_order: batch size ", batch_size, ", wanted at least 1");
  }

  /// Row numbers of a batch. Cost: a permutation of all rows at the start of an epoch.
  [[nodiscard]] std::vector<index_t> batch(std::uint64_t number) {
    std::vector<index_t> out;
    const auto rows = static_cast<std::uint64_t>(rows_);
    for (index_t i = 0; i < batch_size_; ++i) {
      const std::uint64_t place =
          number * static_cast<std::uint64_t>(batch_size_) + static_cast<std::uint64_t>(i);
      out.push_back(epoch(place / rows)[static_cast<std::size_t>(place % rows)]);
    }
    return out;
  }

 private:
  const std::vector<index_t>& epoch(std::uint64_t number) {
    const auto found = epochs_.find(number);
    if (found != epochs_.end()) {
      return found->second;
    }
    if (epochs_.size() >= 4) {  // a batch touches few epochs
      epochs_.clear();
    }
    return epochs_[number] = permutation(rows_, derive_seed(seed_, purpose::rows, number));
  }

  index_t rows_, batch_size_;
  seed_t seed_;
  std::map<std::uint64_t, std::vector<index_t>> epochs_;
};

}  // namespace zoq
