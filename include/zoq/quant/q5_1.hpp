// Q5_1: 32 values in 24 bytes.   value[i] = d * q[i] + m
//
//     bytes 0..1   d, f16 scale
//     bytes 2..3   m, f16 minimum
//     bytes 4..7   bit i (little-endian) is bit 4 of q[i]
//     bytes 8..23  byte i holds the low four bits of q[i] in its low half, of q[i + 16] in its high half
//
// Format: the GGUF specification. d * q is exact in float (11 + 5 bits), so there is one rounding,
// fused or not.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct q5_1 {
  static constexpr std::string_view name = "q5_1";
  static constexpr std::string_view summary = "5 bits with a scale and a minimum for 32 values";
  static constexpr std::string_view cost = "6 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q5_1";
  static constexpr std::uint32_t gguf_type = 7;
  static constexpr std::uint32_t gguf_file_type = 9;
  static constexpr int block_size = 32;
  struct row {};
  /// 24 bytes for 32 values.
  struct block {
    f16 d;                 // scale
    f16 m;                 // minimum
    std::uint8_t high[4];  // bit i is bit 4 of code i
    std::uint8_t q[16];    // byte i: the low half of code i, and above it of code i + 16
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d);
    const float m = to_float(b.m);
    const std::uint32_t bits = b.high[0] | std::uint32_t{b.high[1]} << 8 |
                               std::uint32_t{b.high[2]} << 16 | std::uint32_t{b.high[3]} << 24;
    for (int i = 0; i < 16; ++i) {
      const int low = static_cast<int>(bits >> i & 1) << 4;
      const int high = static_cast<int>(bits >> (i + 16) & 1) << 4;
      y[i] = d * static_cast<float>((b.q[i] & 15) | low) + m;
      y[i + 16] = d * static_cast<float>((b.q[i] >> 4) | high) + m;
    }
  }

  /// The plain encoder of the format: d = (max - min) / 31, m = min, codes of the reference package.
  /// `importance` is not used. x: [columns], finite; decodes to infinities or NaN where d or m is
  /// beyond f16.
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      const float lowest = *std::min_element(x, x + 32);
      const float d = (*std::max_element(x, x + 32) - lowest) / 31.0f;
      *blocks = {to_f16(d), to_f16(lowest), {}, {}};
      // A scale that rounds to zero makes every value zero; its reciprocal may not be finite.
      const float inverse = to_float(blocks->d) != 0 ? 1.0f / d : 0.0f;
      for (int i = 0; i < 32; ++i) {
        // Not below 0.5, or NaN where the range is beyond float; a NaN must not be converted.
        const float steps = (x[i] - lowest) * inverse + 0.5f;
        const int code = steps < 31 ? static_cast<int>(steps) : 31;
        std::uint8_t& low = blocks->q[i % 16];
        low = static_cast<std::uint8_t>(low | (code & 15) << (i < 16 ? 0 : 4));
        std::uint8_t& high = blocks->high[i / 8];
        high = static_cast<std::uint8_t>(high | code >> 4 << i % 8);
      }
    }
  }
};
static_assert(quant_scheme<q5_1> && sizeof(q5_1::block) == 24);

}  // namespace zoq
