// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/batch.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"

using zoq::index_t;
using zoq::packing;
using zoq::test::message_of;

namespace {

template <class View>
auto list(const View& view) {
  return std::vector<std::remove_const_t<std::remove_pointer_t<decltype(view.data)>>>(
      view.data, view.data + view.shape[0]);
}

}  // namespace

TEST_CASE_TEMPLATE("device_batch: tokens, positions, segments and the rows that are read", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  zoq::device_batch<X> batch;
  for (int again = 0; again < 2; ++again) {  // a batch is loaded over an earlier one
    packing p;
    const std::vector<zoq::token_t> prompt = {5, 6, 7}, first = {8, 9}, second = {4},
                                    alone = {3, 2};
    const index_t above = p.add(prompt);
    const index_t option = p.add(first, above);
    p.read(p.add(second, above), 0, 1);
    p.read(above, 2, 8);
    p.read(above, 2, 4);  // two answers at one row
    p.read(option, 0, 9);
    p.read(p.add(alone), 1, 0);
    batch.load(exec, p, 10, 5);
    using numbers = std::vector<std::int32_t>;
    CHECK(batch.rows() == 8);
    CHECK(list(batch.tokens()) == std::vector<zoq::token_t>{5, 6, 7, 8, 9, 4, 3, 2});
    CHECK(list(batch.positions()) == numbers{0, 1, 2, 3, 4, 3, 0, 1});
    CHECK(list(batch.all_rows()) == numbers{0, 1, 2, 3, 4, 5, 6, 7});
    CHECK(list(batch.read_rows()) == numbers{2, 3, 5, 7});
    CHECK(list(batch.read_positions()) == numbers{2, 3, 3, 1});
    CHECK(list(batch.layout().segment_of) == numbers{0, 0, 0, 1, 1, 2, 3, 3});
    CHECK(batch.layout().segments.shape[0] == 4);
    CHECK(batch.read_row_count() == 4);
    CHECK(batch.read_place(2) == 0);
    CHECK(batch.read_place(5) == 2);
    CHECK(batch.read_place(7) == 3);

    packing shorter;
    shorter.read(shorter.add(second), 0, 0);
    batch.load(exec, shorter, 10, 5);
    CHECK(list(batch.tokens()) == second);
    CHECK(list(batch.read_rows()) == numbers{0});
    CHECK(list(batch.layout().segment_of) == numbers{0});
  }
}

TEST_CASE("device_batch: tokens outside the vocabulary and too long sequences are refused") {
  const zoq::serial exec;
  const auto error = [&](const std::vector<zoq::token_t>& tokens, index_t context, bool read) {
    packing p;
    if (!tokens.empty()) {
      const index_t middle = p.add(tokens);
      const index_t rest = p.add(tokens, middle);
      if (read) {
        p.read(rest, 0, 0);
      }
    }
    zoq::device_batch<zoq::serial> batch;
    return message_of([&] { batch.load(exec, p, 10, context); });
  };
  CHECK(error({1, 9, 0}, 6, true) == "");
  CHECK(error({1, 10}, 6, true) == "forward: token 10 is outside the vocabulary of 10");
  CHECK(error({-1}, 6, true) == "forward: token -1 is outside the vocabulary of 10");
  CHECK(error({1, 2, 3}, 5, true) ==
        "forward: a sequence of 6 tokens is longer than the model's context of 5");
  CHECK(error({1}, 6, false) == "forward: the batch is empty");
  CHECK(error({}, 6, false) == "forward: the batch is empty");
}
