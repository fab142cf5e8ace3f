// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/value_blocks.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

using zoq::index_t;
using numbers = std::vector<index_t>;

TEST_CASE("value_blocks: places among the values, names and shapes, also when moved") {
  zoq::value_blocks blocks;
  CHECK(blocks.add("a", 2, 3) == 0);
  CHECK(blocks.add("b", 1, 4) == 6);
  const zoq::value_blocks moved = std::move(blocks);
  CHECK(moved.size() == 10);
  CHECK(moved.order().size == 10);
  CHECK(moved.order().count == 2);
  CHECK(moved.order().tensors[1].first == 6);
  CHECK(moved.order().tensors[0].columns == 3);
  CHECK(moved.names()[1] == "b");
  CHECK(moved.numbers().empty());
}

TEST_CASE("value_blocks: what is skipped leaves the others their numbers, also in joined blocks") {
  zoq::value_blocks first;
  first.add("a", 1, 2);
  first.skip(3);
  first.add("c", 1, 1);
  CHECK(first.numbers() == numbers{0, 1, 5});
  zoq::value_blocks second;
  second.skip(2);
  second.add("e", 1, 2);
  second.skip(1);
  zoq::value_blocks both;
  both.add(first);
  both.add(second);
  both.add("f", 1, 1);
  CHECK(both.size() == 6);
  CHECK(both.numbers() == numbers{0, 1, 5, 8, 9, 11});
  CHECK(both.order().tensors[2].first == 3);
}

TEST_CASE("value_blocks: numbers of one's own") {
  zoq::value_blocks blocks;
  blocks.add("a", 1, 2);
  blocks.number_last(numbers{70, 71});
  blocks.skip(5);
  blocks.add("b", 1, 1);
  blocks.number_last(numbers{4});
  CHECK(blocks.numbers() == numbers{70, 71, 4});
}
