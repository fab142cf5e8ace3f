// LUT4: codes of 4 bits into a table of 16 floats that a row owns.   value[i] = table[q[i]]
//
//     row    64 bytes: the table, ascending
//     block  16 bytes for 32 values: byte i holds value i in its low half, value i + 16 in its high half
//
// The table is the best one for the row's values and their importance (quant/cluster.hpp). With the
// squared gradients of a loss as importance, and a few values of importance 0 kept beside, this is the
// dense-and-sparse quantiser of Kim et al., SqueezeLLM, arXiv 2306.07629. Not in GGUF files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/quant/cluster.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct lut4 {
  static constexpr std::string_view name = "lut4";
  static constexpr std::string_view summary =
      "4 bits: a row's own table of 16, by weighted k-means";
  static constexpr std::string_view cost = "4 bits a weight, 64 bytes a row";
  static constexpr std::string_view paper = "arXiv 2306.07629";
  static constexpr std::uint32_t gguf_type = no_gguf_type;
  static constexpr int block_size = 32;
  /// 64 bytes.
  struct row {
    float table[16];  // ascending
  };
  /// 16 bytes for 32 values.
  struct block {
    std::uint8_t q[16];  // byte i: code i, and above it code i + 16
  };

  ZOQ_HD static void decode(const row& r, const block& b, float* y) {
    // In order: two stores a turn make g++ 12 unroll this to 80 KB, a third slower.
    for (int i = 0; i < 32; ++i) {
      y[i] = r.table[b.q[i % 16] >> (i / 16 * 4) & 15];
    }
  }

  /// The best table and, for every value, its nearest entry. x: [columns], finite; importance:
  /// [columns], none negative, or null. About a microsecond a value at 4,096 columns.
  static void encode(const float* x, const float* importance, index_t columns, row& r,
                     block* blocks) {
    best_table(x, importance, columns, r.table);
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      for (int i = 0; i < 16; ++i) {
        blocks->q[i] = static_cast<std::uint8_t>(nearest_entry(r.table, x[i]) |
                                                 nearest_entry(r.table, x[i + 16]) << 4);
      }
    }
  }
};
static_assert(quant_scheme<lut4> && sizeof(lut4::block) == 16 && sizeof(lut4::row) == 64);

}  // namespace zoq
