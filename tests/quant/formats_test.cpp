// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/formats.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/temporary_folder.hpp"
#include "quant/random_blocks.hpp"

using namespace zoq::test;
using zoq::find_format;
using zoq::index_t;

static_assert(find_format(3)->name == "q4_1" && find_format("q4_1")->gguf_type == 3);
static_assert(!find_format(zoq::no_gguf_type) && !find_format("q4_2"));

TEST_CASE("formats: every one has its name, GGUF id and size") {
  struct wanted {
    std::string_view name;
    std::uint32_t id;
    int values;
    index_t bytes;
  };
  // From the table of tensor types in the GGUF specification.
  const std::vector<wanted> table = {{"f32", 0, 1, 4},    {"f16", 1, 1, 2},    {"bf16", 30, 1, 2},
                                     {"q8_0", 8, 32, 34}, {"q4_0", 2, 32, 18}, {"q4_1", 3, 32, 20}};
  std::size_t count = 0;
  zoq::formats::for_each([&](auto) { ++count; });
  CHECK(count == table.size());
  for (const wanted& w : table) {
    for (const auto& found : {find_format(w.id), find_format(w.name)}) {
      REQUIRE(found.has_value());
      CHECK(found->name == w.name);
      CHECK(found->gguf_type == w.id);
      CHECK(found->block_size == w.values);
      CHECK(found->block_bytes == w.bytes);
      CHECK(found->bytes(3, 64) == 3 * 64 / w.values * w.bytes);
    }
  }
}

TEST_CASE("formats: neither names nor ids come twice") {
  std::set<std::string_view> names;
  std::set<std::uint32_t> ids;
  std::size_t count = 0;
  zoq::formats::for_each([&]<class S>(S) {
    names.insert(S::name);
    ids.insert(S::gguf_type);
    ++count;
  });
  CHECK(names.size() == count);
  CHECK(ids.size() == count);
}

TEST_CASE("find_format: none for what is not in the list") {
  CHECK_FALSE(find_format(12).has_value());  // Q4_K
  CHECK_FALSE(find_format("Q4_1").has_value());
  CHECK_FALSE(find_format("").has_value());
}

TEST_CASE_TEMPLATE("packed_as: views bytes as a matrix of the format", S, zoq::f32_format,
                   zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1) {
  const packed_matrix<S> matrix(3, 64, 1);
  const auto* bytes = reinterpret_cast<const std::byte*>(matrix.blocks.data());
  const zoq::any_packed w = zoq::packed_as(S::gguf_type, bytes, 3, 64, "w");
  CHECK(w.rows() == 3);
  CHECK(w.columns() == 64);
  CHECK(w.format().name == S::name);
  CHECK(w.bytes() == bytes);
  CHECK(w.byte_count() == w.format().bytes(3, 64));
  std::vector<float> y(64);
  w.visit([&](const auto& packed) { zoq::decode_row(packed, 2, y.data()); });
  CHECK(same_bits(y.data(), matrix.decoded().data() + 128, 64));
}

TEST_CASE("packed_as: slips are named, with the tensor") {
  const std::byte bytes[64] = {};
  CHECK(message_of([&] { zoq::packed_as(12, bytes, 1, 32, "blk.0.attn_q.weight"); }) ==
        "blk.0.attn_q.weight: unknown format, GGUF type 12");
  CHECK(message_of([&] { zoq::packed_as(zoq::no_gguf_type, bytes, 1, 32, "w"); }) ==
        "w: unknown format, GGUF type 4294967295");
  CHECK(message_of([&] { zoq::packed_as(3, bytes, 2, 40, "blk.3.ffn_down.weight"); }) ==
        "blk.3.ffn_down.weight: 40 columns are no multiple of q4_1's block of 32");
}
