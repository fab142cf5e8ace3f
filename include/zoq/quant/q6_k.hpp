// Q6_K: 256 values in 210 bytes, in sixteen parts of 16.
//
//     value[i] = (d * step[i / 16]) * (q[i] - 32)
//
//     bytes 0..127    the low four bits of q: byte 64 h + i holds those of value 128 h + i in its low
//                     half, of value 128 h + i + 64 above
//     bytes 128..191  the upper two bits: byte 32 h + i holds those of value 128 h + i, and above it of
//                     the values 32, 64 and 96 further on
//     bytes 192..207  step, signed bytes
//     bytes 208..209  d, f16
//
// Format: the GGUF specification. The product is exact in float (11 + 8 + 5 bits). Encoder: ours, by
// least squares.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/k_block.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

struct q6_k {
  static constexpr std::string_view name = "q6_k";
  static constexpr std::string_view summary = "6 bits; scales of 16 values share 256's";
  static constexpr std::string_view cost = "6.5625 bits a weight";
  static constexpr std::string_view paper = "GGUF specification, type Q6_K";
  static constexpr std::uint32_t gguf_type = 14;
  static constexpr std::uint32_t gguf_file_type = 18;
  static constexpr int block_size = 256;
  struct row {};
  /// 210 bytes for 256 values.
  struct block {
    std::uint8_t q[128];    // byte 64 h + i: low halves of codes 128 h + i + 0, 64
    std::uint8_t high[64];  // byte 32 h + i: upper bits of codes 128 h + i + 0, 32, 64, 96
    std::int8_t step[16];   // of each part of 16
    f16 d;                  // scale of the steps
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = to_float(b.d);
    for (int part = 0; part < 16; ++part) {
      const float step = d * static_cast<float>(b.step[part]);
      const int high_shift = part % 8 / 2 * 2, low_shift = part % 8 / 4 * 4;
      const std::uint8_t* q = b.q + part / 8 * 64 + part % 4 * 16;
      const std::uint8_t* high = b.high + part / 8 * 32 + part % 2 * 16;
      for (int i = 0; i < 16; ++i) {
        const int code = (q[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
        y[16 * part + i] = step * static_cast<float>(code - 32);
      }
    }
  }

  /// Near the least weighted squared error: every part's step by least squares, then d by least squares
  /// and each step the best beside its first one. x: [columns], finite; importance: [columns], none
  /// negative, or null. Of normal values 0.45 times q5_1's error. Decodes to infinities or NaN where d is
  /// beyond f16. About 0.1 microseconds a value.
  static void encode(const float* x, const float* importance, index_t columns, row&,
                     block* blocks) {
    for (index_t first = 0; first < columns; first += 256, ++blocks) {
      const codes c = best_codes(x + first, importance == nullptr ? nullptr : importance + first);
      *blocks = {};
      blocks->d = c.d;
      for (int part = 0; part < 16; ++part) {
        blocks->step[part] = static_cast<std::int8_t>(c.step[part]);
      }
      for (int i = 0; i < 256; ++i) {
        const int half = i / 128, within = i % 128, code = c.q[i] + 32;
        std::uint8_t& low = blocks->q[64 * half + within % 64];
        low = static_cast<std::uint8_t>(low | (code & 15) << within / 64 * 4);
        std::uint8_t& high = blocks->high[32 * half + within % 32];
        high = static_cast<std::uint8_t>(high | code >> 4 << within / 32 * 2);
      }
    }
  }

 private:
  struct codes {
    f16 d = {};
    int step[16] = {};
    int q[256] = {};  // -32 to 31

    [[nodiscard]] double scale() const { return static_cast<double>(to_float(d)); }

    // The codes, and for every part the best of the steps beside its own. Returns the error.
    double choose(const float* x, const float* importance) {
      double total = 0;
      for (int part = 0; part < 16; ++part) {
        const int s = step[part];
        double least = std::numeric_limits<double>::infinity();
        for (int ds = -1; ds <= 1; ++ds) {
          const int try_s = std::clamp(s + ds, -128, 127);
          const double a = scale() * try_s;
          double error = 0;
          int found[16];
          for (int i = 0; i < 16; ++i) {
            const auto value = static_cast<double>(x[16 * part + i]);
            found[i] = a != 0 ? detail::whole_within(value / a, -32, 31) : 0;
            const double off = a * found[i] - value;
            error += weight_of(importance, 16 * part + i) * off * off;
          }
          if (error < least) {
            least = error;
            step[part] = try_s;
            std::copy_n(found, 16, q + 16 * part);
          }
        }
        total += least;
      }
      return total;
    }
  };

  static double weight_of(const float* importance, int i) {
    return importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
  }

  // The step of least weighted error for 16 values: from ranges somewhat wider and narrower than that
  // of the values, with the largest at either end, by least squares.
  static double best_step(const float* x, const float* importance) {
    double extreme = 0;
    for (int i = 0; i < 16; ++i) {
      const auto value = static_cast<double>(x[i]);
      if (weight_of(importance, i) > 0 && std::fabs(value) > std::fabs(extreme)) {
        extreme = value;
      }
    }
    double best = 0, most = 0;
    for (int t = -10; extreme != 0 && t <= 10; ++t) {
      for (const double end : {-32.0, 31.0}) {
        const double inverse = (end + 0.1 * t) / extreme;
        double xq = 0, qq = 0;
        for (int i = 0; i < 16; ++i) {
          const auto value = static_cast<double>(x[i]);
          const double w = weight_of(importance, i);
          const int code = detail::whole_within(value * inverse, -32, 31);
          xq += w * value * code;
          qq += w * code * code;
        }
        // What the best step at these codes takes from the sum of squares.
        if (qq > 0 && xq * xq / qq > most) {
          most = xq * xq / qq;
          best = xq / qq;
        }
      }
    }
    return best;
  }

  static codes best_codes(const float* x, const float* importance) {
    double step[16], largest = 0;
    for (int part = 0; part < 16; ++part) {
      step[part] =
          best_step(x + 16 * part, importance == nullptr ? nullptr : importance + 16 * part);
      largest = std::fabs(step[part]) > std::fabs(largest) ? step[part] : largest;
    }
    codes now;
    now.d = to_f16(static_cast<float>(largest / -128));
    for (int part = 0; part < 16; ++part) {
      now.step[part] =
          now.scale() != 0 ? detail::whole_within(step[part] / now.scale(), -128, 127) : 0;
    }
    double error = now.choose(x, importance);
    for (int round = 0; round < 3; ++round) {
      double xa = 0, aa = 0;
      for (int i = 0; i < 256; ++i) {
        const double a = now.step[i / 16] * now.q[i], w = weight_of(importance, i);
        xa += w * a * static_cast<double>(x[i]);
        aa += w * a * a;
      }
      codes next = now;
      next.d = to_f16(static_cast<float>(aa > 0 ? xa / aa : 0));
      const double then = next.choose(x, importance);
      if (!(then < error)) {
        break;
      }
      now = next;
      error = then;
    }
    return now;
  }
};
static_assert(quant_scheme<q6_k> && sizeof(q6_k::block) == 210);

}  // namespace zoq
