// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/objective.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "io/temporary_folder.hpp"

using zoq::index_t;
using zoq::packing;
using zoq::token_t;
using zoq::test::message_of;

namespace {

struct tells_only {
  static constexpr std::string_view name = "tells_only";
  [[nodiscard]] static double loss(const zoq::example&, std::span<const double>) { return 0; }
};

// A loss without a decision.
struct first_score {
  static constexpr std::string_view name = "first_score";
  static void pack(const zoq::example&, packing&) {}
  [[nodiscard]] static double loss(const zoq::example&, std::span<const double> scores) {
    return -scores[0];
  }
};

}  // namespace

static_assert(zoq::objective<first_score>);
static_assert(!zoq::choosing_objective<first_score>);
static_assert(!zoq::objective<tells_only>);

TEST_CASE("pack_continuation: every token is read, and the last takes no row") {
  packing batch;
  const std::vector<token_t> prompt = {1, 2, 3};
  const std::vector<token_t> text = {7, 8, 9};
  const index_t segment = batch.add(prompt);
  zoq::pack_continuation(text, segment, batch);
  CHECK(batch.tokens == std::vector<token_t>{1, 2, 3, 7, 8});
  REQUIRE(batch.reads.size() == 3);
  const index_t rows[3] = {2, 3, 4};  // the first is read after the prompt's last token
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(batch.reads[i].row == rows[i]);
    CHECK(batch.reads[i].target == text[i]);
  }
  REQUIRE(batch.segments.size() == 2);
  CHECK(batch.segments[1].parent == segment);
  CHECK(batch.segments[1].position == 3);
}

TEST_CASE("pack_continuation: one token needs no row at all") {
  packing batch;
  const std::vector<token_t> one = {7};
  zoq::pack_continuation(one, batch.add(std::vector<token_t>{1, 2}), batch);
  CHECK(batch.rows() == 2);
  CHECK(batch.segments.size() == 1);
  REQUIRE(batch.reads.size() == 1);
  CHECK(batch.reads[0].row == 1);
  CHECK(batch.reads[0].target == 7);
}

TEST_CASE("pack_continuation: an empty one is refused") {
  packing batch;
  const index_t prompt = batch.add(std::vector<token_t>{1});
  CHECK(message_of([&] { zoq::pack_continuation({}, prompt, batch); }) ==
        "a continuation is empty");
}
