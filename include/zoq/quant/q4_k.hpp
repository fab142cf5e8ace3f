// Q4_K: 256 values in 144 bytes, in eight parts of 32.
//
//     value[32 j + i] = (d * step[j]) * q[32 j + i] - (least * minimum[j])
//
//     bytes 0..1     d, f16
//     bytes 2..3     least, f16
//     bytes 4..15    steps and minima of 6 bits: quant/k_block.hpp
//     bytes 16..143  q: byte 32 g + i holds value i of part 2 g in its low half, of part 2 g + 1 above
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

struct q4_k {
  static constexpr std::string_view name = "q4_k";
  static constexpr std::string_view summary = "4 bits; scales and minima of 32 values share 256's";
  static constexpr std::string_view cost = "4.5 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q4_K";
  static constexpr std::uint32_t gguf_type = 12;
  static constexpr std::uint32_t gguf_file_type = 14;
  static constexpr int block_size = 256;
  struct row {};
  /// 144 bytes for 256 values.
  struct block {
    f16 d;                // scale of the steps
    f16 least;            // scale of the minima
    k_scales scales;      // steps and minima of the eight parts
    std::uint8_t q[128];  // byte 32 g + i: code i of part 2 g, and above it of part 2 g + 1
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d), least = to_float(b.least);
    for (int j = 0; j < 8; ++j) {
      const float step = d * static_cast<float>(b.scales.step(j));
      const float minimum = least * static_cast<float>(b.scales.minimum(j));
      const std::uint8_t* q = b.q + j / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int code = q[i] >> j % 2 * 4 & 15;
        y[32 * j + i] = step * static_cast<float>(code) - minimum;
      }
    }
  }

  /// k_block::of, packed: of normal values 0.9 times q4_1's error at nine tenths of its bytes. x:
  /// [columns], finite; importance: [columns], none negative, or null. Decodes to infinities or NaN
  /// where d or least is beyond f16.
  static void encode(const float* x, const float* importance, index_t columns, row&,
                     block* blocks) {
    for (index_t first = 0; first < columns; first += 256, ++blocks) {
      const k_block b =
          k_block::of(x + first, importance == nullptr ? nullptr : importance + first, 15);
      blocks->d = b.d;
      blocks->least = b.least;
      blocks->scales = k_scales::of(b.step, b.minimum);
      for (int i = 0; i < 128; ++i) {
        const std::uint8_t* q = b.q + i / 32 * 64 + i % 32;
        blocks->q[i] = static_cast<std::uint8_t>(q[0] | q[32] << 4);
      }
    }
  }
};
static_assert(quant_scheme<q4_k> && sizeof(q4_k::block) == 144);

}  // namespace zoq
