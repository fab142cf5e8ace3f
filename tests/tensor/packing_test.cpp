// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/packing.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "io/temporary_folder.hpp"

using zoq::index_t;
using zoq::packing;
using zoq::token_t;
using zoq::test::message_of;

namespace {
const std::vector<token_t> three = {5, 6, 7};
const std::vector<token_t> two = {8, 9};
const std::vector<token_t> one = {4};
}  // namespace

TEST_CASE("packing: segments stand one after another, positions go on from the parent") {
  packing batch;
  CHECK(batch.empty());
  CHECK(batch.positions() == 0);
  const index_t prompt = batch.add(three);
  const index_t option = batch.add(two, prompt);
  const index_t other = batch.add(one, prompt);
  const index_t deeper = batch.add(one, option);
  const index_t next = batch.add(two);
  CHECK(batch.tokens == std::vector<token_t>{5, 6, 7, 8, 9, 4, 4, 8, 9});
  CHECK(batch.rows() == 9);
  CHECK_FALSE(batch.empty());

  struct wanted {
    index_t number, first, count, parent, position;
  };
  for (const wanted& w :
       {wanted{prompt, 0, 3, -1, 0}, wanted{option, 3, 2, 0, 3}, wanted{other, 5, 1, 0, 3},
        wanted{deeper, 6, 1, 1, 5}, wanted{next, 7, 2, -1, 0}}) {
    const zoq::segment& s = batch.segments[static_cast<std::size_t>(w.number)];
    CHECK(s.first == w.first);
    CHECK(s.count == w.count);
    CHECK(s.parent == w.parent);
    CHECK(s.position == w.position);
  }
  CHECK(batch.positions() == 6);  // prompt, option and what goes on after it
}

TEST_CASE("packing: reads name a row of a segment") {
  packing batch;
  batch.add(three);
  const index_t option = batch.add(two, 0);
  batch.read(0, 2, 8);
  batch.read(option, 0, 9);
  REQUIRE(batch.reads.size() == 2);
  CHECK(batch.reads[0].row == 2);
  CHECK(batch.reads[0].target == 8);
  CHECK(batch.reads[1].row == 3);
  CHECK(batch.reads[1].target == 9);
}

TEST_CASE("packing: cut takes back what was added since") {
  packing batch;
  batch.add(three);
  batch.read(0, 0, 1);
  const packing::sizes before = batch.size();
  batch.add(two, 0);
  batch.read(1, 0, 1);
  batch.cut(before);
  CHECK(batch.tokens == three);
  CHECK(batch.segments.size() == 1);
  CHECK(batch.reads.size() == 1);
  batch.clear();
  CHECK(batch.empty());
  CHECK(batch.segments.empty());
  CHECK(batch.reads.empty());
}

TEST_CASE("packing: slips are named") {
  packing batch;
  batch.add(three);
  CHECK(message_of([&] { batch.add({}); }) == "packing: segment 1 is empty");
  CHECK(message_of([&] { batch.add(two, 1); }) == "packing: segment 1 has parent 1");
  CHECK(message_of([&] { batch.add(two, -2); }) == "packing: segment 1 has parent -2");
  CHECK(message_of([&] { batch.read(1, 0, 0); }) == "packing: no segment 1");
  CHECK(message_of([&] { batch.read(-1, 0, 0); }) == "packing: no segment -1");
  CHECK(message_of([&] { batch.read(0, 3, 0); }) == "packing: offset 3 in a segment of 3");
  CHECK(message_of([&] { batch.read(0, -1, 0); }) == "packing: offset -1 in a segment of 3");
  CHECK(batch.rows() == 3);  // a refused segment leaves nothing
  CHECK(batch.reads.empty());
}
