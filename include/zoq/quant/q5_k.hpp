// Q5_K: 256 values in 176 bytes, in eight parts of 32.
//
//     value[32 j + i] = (d * step[j]) * q[32 j + i] - (least * minimum[j])
//
//     bytes 0..1     d, f16
//     bytes 2..3     least, f16
//     bytes 4..15    steps and minima of 6 bits: quant/k_block.hpp
//     bytes 16..47   bit j of byte i is bit 4 of value i of part j
//     bytes 48..175  byte 32 g + i holds the low four bits of value i of part 2 g in its low half, of
//                    part 2 g + 1 above
//
// Format: the GGUF specification. Encoder: ours, by least squares.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/k_block.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct q5_k {
  static constexpr std::string_view name = "q5_k";
  static constexpr std::string_view summary = "5 bits; scales and minima of 32 values share 256's";
  static constexpr std::string_view cost = "5.5 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q5_K";
  static constexpr std::uint32_t gguf_type = 13;
  static constexpr std::uint32_t gguf_file_type = 16;
  static constexpr int block_size = 256;
  struct row {};
  /// 176 bytes for 256 values.
  struct block {
    f16 d;                  // scale of the steps
    f16 least;              // scale of the minima
    k_scales scales;        // steps and minima of the eight parts
    std::uint8_t high[32];  // bit j of byte i: bit 4 of code i of part j
    std::uint8_t q[128];    // byte 32 g + i: low halves of codes i of parts 2 g and 2 g + 1
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d), least = to_float(b.least);
    for (int j = 0; j < 8; ++j) {
      const float step = d * static_cast<float>(b.scales.step(j));
      const float minimum = least * static_cast<float>(b.scales.minimum(j));
      const std::uint8_t* q = b.q + j / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int code = (q[i] >> j % 2 * 4 & 15) | (b.high[i] >> j & 1) << 4;
        y[32 * j + i] = step * static_cast<float>(code) - minimum;
      }
    }
  }

  /// k_block::of, packed: of normal values 0.9 times q5_1's error at eleven twelfths of its bytes. x:
  /// [columns], finite; importance: [columns], none negative, or null. Decodes to infinities or NaN
  /// where d or least is beyond f16.
  static void encode(const float* x, const float* importance, index_t columns, row&,
                     block* blocks) {
    for (index_t first = 0; first < columns; first += 256, ++blocks) {
      const k_block b =
          k_block::of(x + first, importance == nullptr ? nullptr : importance + first, 31);
      *blocks = {b.d, b.least, k_scales::of(b.step, b.minimum), {}, {}};
      for (int i = 0; i < 256; ++i) {
        const int part = i / 32;
        std::uint8_t& low = blocks->q[part / 2 * 32 + i % 32];
        low = static_cast<std::uint8_t>(low | (b.q[i] & 15) << part % 2 * 4);
        std::uint8_t& high = blocks->high[i % 32];
        high = static_cast<std::uint8_t>(high | b.q[i] >> 4 << part);
      }
    }
  }
};
static_assert(quant_scheme<q5_k> && sizeof(q5_k::block) == 176);

}  // namespace zoq
