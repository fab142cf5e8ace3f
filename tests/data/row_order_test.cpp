// SPDX-License-Identifier: Apache-2.0
#include "zoq/data/row_order.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::index_t;
using zoq::row_order;
using zoq::test::message_of;

namespace {

std::vector<index_t> rows_of(row_order order, std::uint64_t batches) {
  std::vector<index_t> out;
  for (std::uint64_t b = 0; b < batches; ++b) {
    const std::vector<index_t> batch = order.batch(b);
    out.insert(out.end(), batch.begin(), batch.end());
  }
  return out;
}

}  // namespace

TEST_CASE("row_order: each row once an epoch, also where a batch spans two or more") {
  for (const auto& [rows, size] : {std::pair<index_t, index_t>{10, 5}, {10, 3}, {7, 16}, {1, 4}}) {
    const std::vector<index_t> all = rows_of({rows, size, 1}, static_cast<std::uint64_t>(6 * rows));
    CHECK(static_cast<index_t>(all.size()) == 6 * rows * size);
    for (std::size_t begin = 0; begin < all.size(); begin += static_cast<std::size_t>(rows)) {
      std::vector<index_t> epoch(all.begin() + static_cast<long>(begin),
                                 all.begin() + static_cast<long>(begin) + rows);
      std::sort(epoch.begin(), epoch.end());
      bool each = true;
      for (index_t r = 0; r < rows; ++r) {
        each = each && epoch[static_cast<std::size_t>(r)] == r;
      }
      CHECK(each);
    }
  }
}

TEST_CASE("row_order: a batch is a function of seed and number, whatever was asked before") {
  row_order order(100, 16, 3);
  std::vector<std::vector<index_t>> forward;
  for (std::uint64_t b = 0; b < 50; ++b) {
    forward.push_back(order.batch(b));
  }
  row_order other(100, 16, 3);
  for (std::uint64_t b = 50; b-- > 0;) {
    CHECK(other.batch(b) == forward[b]);
  }
  CHECK(other.batch(7) == forward[7]);
  CHECK(row_order(100, 16, 3).batch(49) == forward[49]);
  CHECK(row_order(100, 16, 3).batch(std::uint64_t{1} << 40) ==
        row_order(100, 16, 3).batch(std::uint64_t{1} << 40));
}

TEST_CASE("row_order: other seeds and other epochs, other orders") {
  CHECK(row_order(100, 100, 1).batch(0) != row_order(100, 100, 2).batch(0));
  CHECK(row_order(100, 100, 1).batch(0) != row_order(100, 100, 1).batch(1));
}

TEST_CASE("row_order: the batch size cuts one and the same walk") {
  CHECK(rows_of({20, 4, 1}, 15) == rows_of({20, 12, 1}, 5));
}

TEST_CASE("row_order: none of nothing") {
  CHECK(message_of([] { row_order(0, 16, 1); }) == "row_order: there are no rows");
  CHECK(message_of([] { row_order(5, 0, 1); }) == "row_order: batch size 0, wanted at least 1");
}

TEST_CASE("row_order: every stretch of an epoch has each stratum in its share") {
  for (const std::vector<index_t>& sizes :
       {std::vector<index_t>{10, 10}, {30, 10}, {1, 99}, {7, 11, 13}, {25, 25, 25, 25}}) {
    std::vector<index_t> strata;
    for (std::size_t s = 0; s < sizes.size(); ++s) {
      strata.insert(strata.end(), static_cast<std::size_t>(sizes[s]), static_cast<index_t>(s));
    }
    const auto rows = static_cast<index_t>(strata.size());
    row_order order(rows, 1, 5, strata);
    std::vector<index_t> epoch, had(sizes.size(), 0);
    double furthest = 0;
    for (index_t i = 0; i < rows; ++i) {
      epoch.push_back(order.batch(static_cast<std::uint64_t>(i))[0]);
      ++had[static_cast<std::size_t>(strata[static_cast<std::size_t>(epoch.back())])];
      for (std::size_t s = 0; s < sizes.size(); ++s) {
        const double share = static_cast<double>(sizes[s]) / static_cast<double>(rows);
        furthest = std::max(
            furthest, std::abs(static_cast<double>(had[s]) - share * static_cast<double>(i + 1)));
      }
    }
    CHECK(furthest <= (sizes.size() == 2 ? 1.0 : 2.0));
    std::sort(epoch.begin(), epoch.end());
    CHECK(std::adjacent_find(epoch.begin(), epoch.end()) == epoch.end());
  }
}

TEST_CASE(
    "row_order: two strata of one size halve every even batch, and one stratum changes nothing") {
  const std::vector<index_t> halves = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1};
  row_order order(12, 4, 9, halves);
  for (std::uint64_t b = 0; b < 9; ++b) {
    index_t second = 0;
    for (const index_t row : order.batch(b)) {
      second += halves[static_cast<std::size_t>(row)];
    }
    CHECK(second == 2);
  }
  CHECK(rows_of({12, 4, 9, std::vector<index_t>(12, 3)}, 9) == rows_of({12, 4, 9}, 9));
  CHECK(message_of([] { row_order(3, 1, 0, {1, 2}); }) == "row_order: 2 strata for 3 rows");
}
