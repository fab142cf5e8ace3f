// Q4_0: 32 values in 18 bytes.   value[i] = d * (q[i] - 8)
//
//     bytes 0..1   d, f16 scale
//     bytes 2..17  q: byte i holds value i in its low half, value i + 16 in its high half
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

struct q4_0 {
  static constexpr std::string_view name = "q4_0";
  static constexpr std::string_view summary = "4 bits with a scale for 32 values";
  static constexpr std::string_view cost = "4.5 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q4_0";
  static constexpr std::uint32_t gguf_type = 2;
  static constexpr std::uint32_t gguf_file_type = 2;
  static constexpr int block_size = 32;
  static constexpr bool own_kernels = true;  // quant/scheme.hpp
  struct row {};
  /// 18 bytes for 32 values.
  struct block {
    f16 d;               // scale
    std::uint8_t q[16];  // byte i: code i, and above it code i + 16
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d);
    for (int i = 0; i < 16; ++i) {
      y[i] = d * static_cast<float>((b.q[i] & 15) - 8);
      y[i + 16] = d * static_cast<float>((b.q[i] >> 4) - 8);
    }
  }

  /// The plain encoder of the format: the value of largest magnitude becomes code 0, so
  /// d = -that / 8. Codes of the reference package; where the compiler may fuse multiply and add,
  /// a value half-way between two codes can get the other one. `importance` is not used.
  /// x: [columns], finite; decodes to infinities or NaN where d is beyond f16.
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      float extreme = 0;
      for (int i = 0; i < 32; ++i) {
        extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
      }
      const float d = extreme / -8.0f;
      blocks->d = to_f16(d);
      // A scale that rounds to zero makes every value zero; its reciprocal may not be finite.
      const float inverse = to_float(blocks->d) != 0 ? 1.0f / d : 0.0f;
      for (int i = 0; i < 16; ++i) {
        blocks->q[i] =
            static_cast<std::uint8_t>(code(x[i] * inverse) | code(x[i + 16] * inverse) << 4);
      }
    }
  }

 private:
  static int code(float scaled) { return std::clamp(static_cast<int>(scaled + 8.5f), 0, 15); }
};
static_assert(quant_scheme<q4_0> && sizeof(q4_0::block) == 18);

}  // namespace zoq
