// NF4: 64 values in 36 bytes.   value[i] = largest * levels[q[i]]
//
//     bytes 0..3   largest, f32: the largest magnitude of the 64
//     bytes 4..35  q: byte i holds value 2 i in its high half, value 2 i + 1 in its low half
//
// The levels are quantiles of a normal distribution, from -1 to 1 with an exact 0. Values are those that
// bitsandbytes decodes to (blocks of 64, float scales, no second quantisation of the scales), to the bit.
// Dettmers et al., QLoRA, arXiv 2305.14314. Not in GGUF files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct nf4 {
  static constexpr std::string_view name = "nf4";
  static constexpr std::string_view summary =
      "4 bits: quantiles of a normal, a scale for 64 values";
  static constexpr std::string_view cost = "4.5 bits a weight";
  static constexpr std::string_view paper = "arXiv 2305.14314";
  static constexpr std::uint32_t gguf_type = no_gguf_type;
  static constexpr int block_size = 64;
  struct row {};
  /// 36 bytes for 64 values.
  struct block {
    float largest;       // magnitude of the 64
    std::uint8_t q[32];  // byte i: code 2 i + 1, and above it code 2 i
  };

  /// Level `code` of 16, as floats next to the paper's.
  ZOQ_HD static float level(int code) {
    constexpr float levels[16] = {-1.0f,
                                  -0.6961928009986877f,
                                  -0.5250730514526367f,
                                  -0.39491748809814453f,
                                  -0.28444138169288635f,
                                  -0.18477343022823334f,
                                  -0.09105003625154495f,
                                  0.0f,
                                  0.07958029955625534f,
                                  0.16093020141124725f,
                                  0.24611230194568634f,
                                  0.33791524171829224f,
                                  0.44070982933044434f,
                                  0.5626170039176941f,
                                  0.7229568362236023f,
                                  1.0f};
    return levels[code];
  }

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    for (int i = 0; i < 32; ++i) {
      y[2 * i] = b.largest * level(b.q[i] >> 4);
      y[2 * i + 1] = b.largest * level(b.q[i] & 15);
    }
  }

  /// The level next to x / largest, the lower of two as near. `importance` is not used.
  /// x: [columns], finite.
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t first = 0; first < columns; first += 64, x += 64, ++blocks) {
      float largest = 0;
      for (int i = 0; i < 64; ++i) {
        largest = std::fmax(largest, std::fabs(x[i]));
      }
      blocks->largest = largest;
      for (int i = 0; i < 32; ++i) {
        blocks->q[i] =
            static_cast<std::uint8_t>(code(x[2 * i], largest) << 4 | code(x[2 * i + 1], largest));
      }
    }
  }

 private:
  static int code(float x, float largest) {
    const double scaled = largest > 0 ? static_cast<double>(x) / static_cast<double>(largest) : 0.0;
    int found = 0;
    while (found < 15 &&
           2 * scaled > static_cast<double>(level(found)) + static_cast<double>(level(found + 1))) {
      ++found;
    }
    return found;
  }
};
static_assert(quant_scheme<nf4> && sizeof(nf4::block) == 36);

}  // namespace zoq
