// SPDX-License-Identifier: Apache-2.0
#include "zoq/data/example.hpp"

#include <doctest/doctest.h>

#include <vector>

using zoq::example;
using zoq::index_t;

namespace {

double share(const std::vector<index_t>& answers) {
  std::vector<example> rows;
  for (const index_t answer : answers) {
    rows.push_back({{}, {}, answer});
  }
  return zoq::majority_share(rows);
}

}  // namespace

TEST_CASE("majority_share: what a constant guess reaches") {
  CHECK(share({}) == 0);
  CHECK(share({3}) == 1);
  CHECK(share({0, 1, 1, 0}) == 0.5);
  CHECK(share({0, 2, 2, 1, 2}) == 0.6);
  CHECK(share({5, 5, 0}) == 2.0 / 3);
}
