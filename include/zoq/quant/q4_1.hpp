// Q4_1: 32 values in 20 bytes.   value[i] = d * q[i] + m
//
//     bytes 0..1   d, f16 scale
//     bytes 2..3   m, f16 minimum
//     bytes 4..19  q: byte i holds value i in its low half, value i + 16 in its high half
//
// Format: the GGUF specification. d * q is exact in float (11 + 4 bits), so a fused multiply-add
// and a multiply followed by an add give the same bits on every machine.
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

struct q4_1 {
  static constexpr std::string_view name = "q4_1";
  static constexpr std::string_view summary = "4 bits with a scale and a minimum for 32 values";
  static constexpr std::string_view cost = "5 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q4_1";
  static constexpr std::uint32_t gguf_type = 3;
  static constexpr std::uint32_t gguf_file_type = 3;
  static constexpr int block_size = 32;
  static constexpr bool own_kernels = true;  // quant/scheme.hpp
  struct row {};
  /// 20 bytes for 32 values.
  struct block {
    f16 d;               // scale
    f16 m;               // minimum
    std::uint8_t q[16];  // byte i: code i, and above it code i + 16
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d);
    const float m = to_float(b.m);
    for (int i = 0; i < 16; ++i) {
      y[i] = d * static_cast<float>(b.q[i] & 15) + m;
      y[i + 16] = d * static_cast<float>(b.q[i] >> 4) + m;
    }
  }

  /// The plain encoder of the format: d = (max - min) / 15, m = min, codes of the reference package.
  /// `importance` is not used. x: [columns], finite; decodes to infinities or NaN where d or m is
  /// beyond f16.
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      const float lowest = *std::min_element(x, x + 32);
      const float d = (*std::max_element(x, x + 32) - lowest) / 15.0f;
      blocks->d = to_f16(d);
      // A scale that rounds to zero makes every value zero; its reciprocal may not be finite.
      const float inverse = to_float(blocks->d) != 0 ? 1.0f / d : 0.0f;
      blocks->m = to_f16(lowest);
      const auto code = [&](float value) {
        // Not below 0.5, or NaN where the range is beyond float; a NaN must not be converted.
        const float steps = (value - lowest) * inverse + 0.5f;
        return steps < 15 ? static_cast<int>(steps) : 15;
      };
      for (int i = 0; i < 16; ++i) {
        blocks->q[i] = static_cast<std::uint8_t>(code(x[i]) | code(x[i + 16]) << 4);
      }
    }
  }
};
static_assert(quant_scheme<q4_1> && sizeof(q4_1::block) == 20);

}  // namespace zoq
