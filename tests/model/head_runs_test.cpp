// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/head_runs.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using zoq::index_t;

TEST_CASE("head_runs: every row once, in runs of at most as many, pairs with both branches") {
  for (const index_t branches : {1, 2, 4, 6}) {
    for (const index_t queries : {1, 3, 32, 33, 100}) {
      for (const bool pairs : {false, true}) {
        if (pairs && branches % 2 != 0) {
          continue;
        }
        CAPTURE(branches);
        CAPTURE(queries);
        const auto runs = zoq::head_runs({branches, pairs}, queries, 64);
        std::vector<int> seen(static_cast<std::size_t>(branches * queries));
        for (const zoq::head_run& run : runs) {
          CHECK(run.rows <= 64);
          CHECK(run.rows <= runs.front().rows);
          for (index_t i = 0; i < run.rows; ++i) {
            ++seen[static_cast<std::size_t>(run.row(i))];
          }
          for (index_t i = 0; pairs && i < run.count; ++i) {
            CHECK(run.row(run.count + i) == run.row(i) + queries);
            CHECK(run.row(i) / queries % 2 == 0);
          }
        }
        CHECK(seen == std::vector<int>(seen.size(), 1));
      }
    }
  }
}

TEST_CASE("order_reads: every read of every branch at the run and row that answer it") {
  zoq::packing batch;
  batch.add(std::vector<zoq::token_t>(10, 1));
  for (const index_t row : {7, 2, 7, 9, 0, 2}) {  // several of one row, in any order
    batch.read(0, row,
               static_cast<zoq::token_t>(10 * row + static_cast<index_t>(batch.reads.size())));
  }
  const std::vector<index_t> read_rows = {0, 2, 7, 9};
  const auto place_of = [&](index_t row) {
    return std::lower_bound(read_rows.begin(), read_rows.end(), row) - read_rows.begin();
  };
  for (const bool pairs : {false, true}) {
    for (const index_t most : {2, 4, 64}) {
      constexpr index_t branches = 4;
      auto runs = zoq::head_runs({branches, pairs}, 4, most);
      const zoq::read_order order = zoq::order_reads(batch, place_of, branches, 4, runs);
      std::vector<int> seen(branches * 6);
      index_t next = 0;
      for (const zoq::head_run& run : runs) {
        CHECK(run.read == next);
        next += run.reads;
        for (index_t i = run.read; i < next; ++i) {
          const index_t read = order.read[static_cast<std::size_t>(i)];
          const zoq::likelihood_place place = order.place[static_cast<std::size_t>(i)];
          const zoq::token_read& asked = batch.reads[static_cast<std::size_t>(read % 6)];
          CHECK(run.row(place.row) == read / 6 * 4 + place_of(asked.row));
          CHECK(place.target == asked.target);
          ++seen[static_cast<std::size_t>(read)];
        }
      }
      CHECK(seen == std::vector<int>(seen.size(), 1));
    }
  }
}
