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
  const std::vector<wanted> table = {
      {"f32", 0, 1, 4},       {"f16", 1, 1, 2},       {"bf16", 30, 1, 2},    {"q8_0", 8, 32, 34},
      {"q4_0", 2, 32, 18},    {"q4_1", 3, 32, 20},    {"q5_0", 6, 32, 22},   {"q5_1", 7, 32, 24},
      {"q4_k", 12, 256, 144}, {"q5_k", 13, 256, 176}, {"q6_k", 14, 256, 210}};
  std::size_t count = 0;
  zoq::formats::for_each([&]<class S>(S) { count += S::gguf_type != zoq::no_gguf_type; });
  CHECK(count == table.size());
  for (const wanted& w : table) {
    for (const auto& found : {find_format(w.id), find_format(w.name)}) {
      REQUIRE(found.has_value());
      CHECK(found->name == w.name);
      CHECK(found->gguf_type == w.id);
      CHECK(found->block_size == w.values);
      CHECK(found->block_bytes == w.bytes);
      CHECK(found->bytes(3, 512) == 3 * 512 / w.values * w.bytes);
      CHECK(found->bytes_with_rows(3, 512) == found->bytes(3, 512));
    }
  }
}

TEST_CASE("formats: what GGUF lacks has its name and size, and what a row owns") {
  struct wanted {
    std::string_view name;
    int values;
    index_t bytes, row_bytes;
  };
  for (const wanted& w :
       {wanted{"nf4", 64, 36, 0}, wanted{"lut4", 32, 16, 64}, wanted{"lut3", 32, 12, 32}}) {
    const auto found = find_format(w.name);
    REQUIRE(found.has_value());
    CHECK(found->gguf_type == zoq::no_gguf_type);
    CHECK(found->block_size == w.values);
    CHECK(found->block_bytes == w.bytes);
    CHECK(found->row_bytes == w.row_bytes);
    CHECK(found->bytes_with_rows(3, 64) == 3 * (64 / w.values * w.bytes + w.row_bytes));
  }
}

TEST_CASE("formats: neither names nor ids come twice") {
  std::set<std::string_view> names;
  std::set<std::uint32_t> ids;
  std::size_t count = 0, gguf = 0;
  zoq::formats::for_each([&]<class S>(S) {
    names.insert(S::name);
    ++count;
    gguf += S::gguf_type != zoq::no_gguf_type;
    if (S::gguf_type != zoq::no_gguf_type) {
      ids.insert(S::gguf_type);
    }
  });
  CHECK(names.size() == count);
  CHECK(ids.size() == gguf);
}

TEST_CASE("find_format: none for what is not in the list") {
  CHECK_FALSE(find_format(10).has_value());  // Q2_K
  CHECK_FALSE(find_format("Q4_1").has_value());
  CHECK_FALSE(find_format("").has_value());
}

TEST_CASE_TEMPLATE("packed_as: views bytes as a matrix of the format", S, zoq::f32_format,
                   zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1, zoq::q5_0,
                   zoq::q5_1, zoq::q4_k, zoq::q5_k, zoq::q6_k, zoq::nf4, zoq::lut4, zoq::lut3) {
  const packed_matrix<S> matrix(3, 512, 1);
  const auto* bytes = reinterpret_cast<const std::byte*>(matrix.blocks.data());
  const auto* rows = reinterpret_cast<const std::byte*>(matrix.view().row_data);
  const zoq::any_packed w = S::gguf_type == zoq::no_gguf_type
                                ? zoq::packed_as(S::name, bytes, rows, 3, 512, "w")
                                : zoq::packed_as(S::gguf_type, bytes, 3, 512, "w");
  CHECK(w.rows() == 3);
  CHECK(w.columns() == 512);
  CHECK(w.format().name == S::name);
  CHECK(w.bytes() == bytes);
  CHECK(w.byte_count() == w.format().bytes_with_rows(3, 512));
  std::vector<float> y(512);
  w.visit([&](const auto& packed) { zoq::decode_row(packed, 2, y.data()); });
  CHECK(same_bits(y.data(), matrix.decoded().data() + 1024, 512));
}

TEST_CASE("packed_as: slips are named, with the tensor") {
  const std::byte bytes[64] = {};
  CHECK(message_of([&] { zoq::packed_as(10, bytes, 1, 32, "blk.0.attn_q.weight"); }) ==
        "blk.0.attn_q.weight: unknown format, GGUF type 10");
  CHECK(message_of([&] { zoq::packed_as(zoq::no_gguf_type, bytes, 1, 32, "w"); }) ==
        "w: unknown format, GGUF type 4294967295");
  CHECK(message_of([&] { zoq::packed_as(3, bytes, 2, 40, "blk.3.ffn_down.weight"); }) ==
        "blk.3.ffn_down.weight: 40 columns are no multiple of q4_1's block of 32");
  CHECK(message_of([&] { zoq::packed_as("q3", bytes, nullptr, 1, 32, "w"); }) ==
        "w: unknown format q3");
  CHECK(message_of([&] { zoq::packed_as("lut4", bytes, nullptr, 1, 32, "w"); }) ==
        "w: rows of lut4 own 64 bytes each, none are given");
  CHECK(message_of([&] { zoq::packed_as("nf4", bytes, bytes, 1, 64, "w"); }) ==
        "w: rows of nf4 own 0 bytes each, but some are given");
}
