// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/products.hpp"

#include <doctest/doctest.h>

using zoq::index_t;
using zoq::detail::part_of;
using zoq::detail::parts_of_rows;
using zoq::detail::slot_range;

TEST_CASE("products: the parts of the slots follow each other, pairs stay together") {
  for (const bool pairs : {false, true}) {
    for (const index_t slots : {0, 2, 6, 48, 530}) {
      for (const index_t parts : {1, 2, 3, 7}) {
        index_t next = 0;
        for (index_t part = 0; part < parts; ++part) {
          const slot_range range = part_of(part, parts, slots, pairs);
          CHECK(range.first == next);
          CHECK((!pairs || range.count % 2 == 0));
          next += range.count;
        }
        CHECK(next == slots);
      }
    }
  }
}

TEST_CASE("products: panels are decoded once, unless threads would wait or rows are few") {
  CHECK(parts_of_rows(1, 1, 1000) == 1);
  CHECK(parts_of_rows(2, 6, 1000) == 1);
  CHECK(parts_of_rows(2, 3, 1000) == 2);
  CHECK(parts_of_rows(2, 1, 1000) == 6);
  CHECK(parts_of_rows(2, 1, 100) == 2);
  CHECK(parts_of_rows(2, 1, 47) == 1);
  CHECK(parts_of_rows(2, 1, 0) == 1);
  CHECK(parts_of_rows(2, 0, 1000) == 1);
}
