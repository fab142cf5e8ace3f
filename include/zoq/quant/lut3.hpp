// LUT3: codes of 3 bits into a table of 8 floats that a row owns.   value[i] = table[q[i]]
//
//     row    32 bytes: the table, ascending
//     block  12 bytes for 32 values: bits 3 i to 3 i + 2, from the lowest of byte 0 on, are q[i]
//
// The table is the best one for the row's values and their importance (quant/cluster.hpp): see
// quant/lut4.hpp. Kim et al., SqueezeLLM, arXiv 2306.07629. Not in GGUF files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/quant/cluster.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct lut3 {
  static constexpr std::string_view name = "lut3";
  static constexpr std::string_view summary = "3 bits: a row's own table of 8, by weighted k-means";
  static constexpr std::string_view cost = "3 bits a weight, 32 bytes a row";
  static constexpr std::string_view paper = "arXiv 2306.07629";
  static constexpr std::uint32_t gguf_type = no_gguf_type;
  static constexpr int block_size = 32;
  /// 32 bytes.
  struct row {
    float table[8];  // ascending
  };
  /// 12 bytes for 32 values.
  struct block {
    std::uint8_t q[12];  // 3 bits a code, eight codes in three bytes
  };

  ZOQ_HD static void decode(const row& r, const block& b, float* y) {
    for (int group = 0; group < 4; ++group) {  // eight codes in three bytes
      const std::uint8_t* q = b.q + 3 * group;
      const unsigned bits =
          q[0] | static_cast<unsigned>(q[1]) << 8 | static_cast<unsigned>(q[2]) << 16;
      for (int i = 0; i < 8; ++i) {
        y[8 * group + i] = r.table[bits >> 3 * i & 7];
      }
    }
  }

  /// The best table and, for every value, its nearest entry. x: [columns], finite; importance:
  /// [columns], none negative, or null. Half of lut4's cost.
  static void encode(const float* x, const float* importance, index_t columns, row& r,
                     block* blocks) {
    best_table(x, importance, columns, r.table);
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      for (int group = 0; group < 4; ++group) {
        unsigned bits = 0;
        for (int i = 0; i < 8; ++i) {
          bits |= static_cast<unsigned>(nearest_entry(r.table, x[8 * group + i])) << 3 * i;
        }
        for (int i = 0; i < 3; ++i) {
          blocks->q[3 * group + i] = static_cast<std::uint8_t>(bits >> 8 * i & 255);
        }
      }
    }
  }
};
static_assert(quant_scheme<lut3> && sizeof(lut3::block) == 12 && sizeof(lut3::row) == 32);

}  // namespace zoq
