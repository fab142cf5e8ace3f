// Q5_0: 32 values in 22 bytes.   value[i] = d * (q[i] - 16)
//
//     bytes 0..1   d, f16 scale
//     bytes 2..5   bit i (little-endian) is bit 4 of q[i]
//     bytes 6..21  byte i holds the low four bits of q[i] in its low half, of q[i + 16] in its high half
//
// Format: the GGUF specification. The product is exact in float.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct q5_0 {
  static constexpr std::string_view name = "q5_0";
  static constexpr std::string_view summary = "5 bits with a scale for 32 values";
  static constexpr std::string_view cost = "5.5 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q5_0";
  static constexpr std::uint32_t gguf_type = 6;
  static constexpr std::uint32_t gguf_file_type = 8;
  static constexpr int block_size = 32;
  struct row {};
  /// 22 bytes for 32 values.
  struct block {
    f16 d;                 // scale
    std::uint8_t high[4];  // bit i is bit 4 of code i
    std::uint8_t q[16];    // byte i: the low half of code i, and above it of code i + 16
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d);
    const std::uint32_t bits = b.high[0] | std::uint32_t{b.high[1]} << 8 |
                               std::uint32_t{b.high[2]} << 16 | std::uint32_t{b.high[3]} << 24;
    for (int i = 0; i < 16; ++i) {
      const int low = static_cast<int>(bits >> i & 1) << 4;
      const int high = static_cast<int>(bits >> (i + 16) & 1) << 4;
      y[i] = d * static_cast<float>(((b.q[i] & 15) | low) - 16);
      y[i + 16] = d * static_cast<float>(((b.q[i] >> 4) | high) - 16);
    }
  }

  /// The plain encoder of the format: the value of largest magnitude becomes code 0, so
  /// d = -that / 16. Codes of the reference package; where the compiler may fuse multiply and add,
  /// a value half-way between two codes can get the other one. `importance` is not used.
  /// x: [columns], finite; decodes to infinities or NaN where d is beyond f16.
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      float extreme = 0;
      for (int i = 0; i < 32; ++i) {
        extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
      }
      const float d = extreme / -16.0f;
      *blocks = {to_f16(d), {}, {}};
      // A scale that rounds to zero makes every value zero; its reciprocal may not be finite.
      const float inverse = to_float(blocks->d) != 0 ? 1.0f / d : 0.0f;
      for (int i = 0; i < 32; ++i) {
        const int code = std::clamp(static_cast<int>(x[i] * inverse + 16.5f), 0, 31);
        std::uint8_t& low = blocks->q[i % 16];
        low = static_cast<std::uint8_t>(low | (code & 15) << (i < 16 ? 0 : 4));
        std::uint8_t& high = blocks->high[i / 8];
        high = static_cast<std::uint8_t>(high | code >> 4 << i % 8);
      }
    }
  }
};
static_assert(quant_scheme<q5_0> && sizeof(q5_0::block) == 22);

}  // namespace zoq
