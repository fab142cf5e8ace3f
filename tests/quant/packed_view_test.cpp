// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/packed_view.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <type_traits>
#include <vector>

#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "zoq/quant/formats.hpp"

using namespace zoq::test;
using zoq::index_t;
using zoq::packed_view;

namespace {

// A scheme whose rows own a table: what a packed view must carry for it.
struct table_of_4 {
  static constexpr std::string_view name = "table_of_4";
  static constexpr std::uint32_t gguf_type = zoq::no_gguf_type;
  static constexpr int block_size = 4;
  struct row {
    float table[4];
  };
  struct block {
    std::uint8_t codes;  // two bits a value
  };
  static void decode(const row& r, const block& b, float* y) {
    for (int i = 0; i < 4; ++i) {
      y[i] = r.table[b.codes >> 2 * i & 3];
    }
  }
  static void encode(const float*, const float*, index_t, row&, block*) {}
};

}  // namespace

static_assert(std::is_trivially_copyable_v<packed_view<zoq::q4_1>>);
static_assert(zoq::quant_scheme<table_of_4>);

TEST_CASE_TEMPLATE("packed_view: rows of blocks, one after another", S, zoq::f32_format,
                   zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1, zoq::q5_0,
                   zoq::q5_1) {
  const packed_matrix<S> matrix(5, 96, 1);
  const packed_view<S> w = matrix.view();
  const index_t blocks = 96 / S::block_size;
  CHECK(w.blocks_per_row() == blocks);
  CHECK(w.byte_count() == static_cast<index_t>(matrix.blocks.size() * sizeof(typename S::block)));
  const auto* wanted_block = matrix.blocks.data() + 3 * blocks + 2;
  CHECK(&w.block(3, 2) == wanted_block);

  const std::vector<float> wanted = decoded<S>(matrix.blocks);
  std::vector<float> y(96);
  for (index_t o = 0; o < 5; ++o) {
    zoq::decode_row(w, o, y.data());
    CHECK(same_bits(y.data(), wanted.data() + o * 96, 96));
  }
}

TEST_CASE("packed_view: a row's own data goes with it, and is counted") {
  const table_of_4::row tables[2] = {{{0, 1, 2, 3}}, {{-1, -2, -4, -8}}};
  const table_of_4::block blocks[4] = {{0b11100100}, {0b00000001}, {0b11100100}, {0b11111111}};
  const packed_view<table_of_4> w{blocks, tables, {2, 8}};
  CHECK(w.byte_count() == 4 + 2 * 16);
  float y[8];
  zoq::decode_row(w, 0, y);
  CHECK(std::vector<float>(y, y + 8) == std::vector<float>{0, 1, 2, 3, 1, 0, 0, 0});
  zoq::decode_row(w, 1, y);
  CHECK(std::vector<float>(y, y + 8) == std::vector<float>{-1, -2, -4, -8, -8, -8, -8, -8});
}
