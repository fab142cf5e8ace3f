// Q8_0: 32 values in 34 bytes.   value[i] = d * q[i]
//
//     bytes 0..1   d, f16 scale
//     bytes 2..33  q, 32 signed bytes
//
// Format: the GGUF specification. d has 11 significant bits and q 8, so the product is exact in
// float and decoding has one rounding-free form on every machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct q8_0 {
  static constexpr std::string_view name = "q8_0";
  static constexpr std::string_view summary = "8 bits with a scale for 32 values";
  static constexpr std::string_view cost = "8.5 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q8_0";
  static constexpr std::uint32_t gguf_type = 8;
  static constexpr std::uint32_t gguf_file_type = 7;
  static constexpr int block_size = 32;
  static constexpr bool own_kernels = true;  // quant/scheme.hpp
  struct row {};
  /// 34 bytes for 32 values.
  struct block {
    f16 d;              // scale
    std::int8_t q[32];  // -127 to 127 as encoded here
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d);
    for (int i = 0; i < 32; ++i) {
      y[i] = d * static_cast<float>(b.q[i]);
    }
  }

  /// The plain encoder of the format: d = max|x| / 127, q rounded half away from zero, as the
  /// reference package does. `importance` is not used. x: [columns], finite; decodes to infinities
  /// or NaN where d is beyond f16.
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      float largest = 0;
      for (int i = 0; i < 32; ++i) {
        largest = std::fmax(largest, std::fabs(x[i]));
      }
      const float d = largest / 127.0f;
      blocks->d = to_f16(d);
      // A scale that rounds to zero makes every value zero; its reciprocal may not be finite.
      const float inverse = to_float(blocks->d) != 0 ? 1.0f / d : 0.0f;
      for (int i = 0; i < 32; ++i) {
        blocks->q[i] = static_cast<std::int8_t>(std::round(x[i] * inverse));
      }
    }
  }
};
static_assert(quant_scheme<q8_0> && sizeof(q8_0::block) == 34);

}  // namespace zoq
