// What q4_k and q5_k share: 256 values in eight parts of 32, each part with a step and a minimum of 6
// bits that one scale and one minimum of the block multiply.
//
//     value[32 j + i] = (d * step[j]) * q[32 j + i] - (least * minimum[j])
//
//     bytes 0..3   step[j] for j < 4 in the low 6 bits; above, the upper 2 bits of step[j + 4]
//     bytes 4..7   the same of minimum
//     bytes 8..11  the low four bits of step[j + 4]; above, those of minimum[j + 4]
//
// Format: the GGUF specification, types Q4_K and Q5_K. d * step * q is exact in float (11 + 6 + 5 bits),
// so there is one rounding, fused or not.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"

namespace zoq {

/// The steps and minima of eight parts.
struct k_scales {
  std::uint8_t packed[12];  // as in files: see above

  /// Of part j: 0 to 63.
  ZOQ_HD int step(int j) const {
    return j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4);
  }
  /// Of part j: 0 to 63.
  ZOQ_HD int minimum(int j) const {
    return j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | (packed[j] >> 6 << 4);
  }
  /// Of steps and minima from 0 to 63.
  static k_scales of(const int (&step)[8], const int (&minimum)[8]) {
    k_scales out;
    for (int j = 0; j < 4; ++j) {
      out.packed[j] = static_cast<std::uint8_t>(step[j] | step[j + 4] >> 4 << 6);
      out.packed[j + 4] = static_cast<std::uint8_t>(minimum[j] | minimum[j + 4] >> 4 << 6);
      out.packed[j + 8] =
          static_cast<std::uint8_t>((step[j + 4] & 15) | (minimum[j + 4] & 15) << 4);
    }
    return out;
  }
};

namespace detail {

// The whole number in [least, most] next to v; `least` where v is NaN.
inline int whole_within(double v, int least, int most) {
  const double low = v > least ? v : static_cast<double>(least);
  const double within = low < most ? low : static_cast<double>(most);
  return least + static_cast<int>(within - least + 0.5);
}

// Sums over values of a part: for the best step and minimum at given codes.
struct range_sums {
  double w = 0, q = 0, qq = 0, x = 0, xq = 0;
};

struct range {
  double step = 0, minimum = 0;  // value = step * q - minimum, neither negative
};

// The step and minimum of least weighted error for 32 values, codes 0 to `most`: from ranges somewhat
// wider and narrower than that of the values, codes and least squares in turn.
inline range fit_range(const float* value, const float* weight, int most) {
  double low = 0, high = std::numeric_limits<double>::lowest();
  for (int i = 0; i < 32; ++i) {
    if (weight == nullptr || weight[i] > 0) {
      low = std::min(low, static_cast<double>(value[i]));
      high = std::max(high, static_cast<double>(value[i]));
    }
  }
  range best{0, -low};
  if (!(high > low)) {
    return best;
  }
  double least = std::numeric_limits<double>::infinity();
  const auto at = [&](int i) { return static_cast<double>(value[i]); };
  const auto of = [&](int i) { return weight == nullptr ? 1.0 : static_cast<double>(weight[i]); };
  const auto measure = [&](const range& r) {
    double error = 0;
    for (int i = 0; i < 32; ++i) {
      const double q = whole_within((at(i) + r.minimum) / r.step, 0, most);
      const double off = r.step * q - r.minimum - at(i);
      error += of(i) * off * off;
    }
    if (error < least) {
      least = error;
      best = r;
    }
  };
  for (int t = -8; t <= 8; ++t) {
    range r{(high - low) / (most + 0.15 * t), -low};
    measure(r);
    for (int round = 0; round < 2; ++round) {
      range_sums s;
      for (int i = 0; i < 32; ++i) {
        const double q = whole_within((at(i) + r.minimum) / r.step, 0, most), w = of(i);
        s.w += w;
        s.q += w * q;
        s.qq += w * q * q;
        s.x += w * at(i);
        s.xq += w * q * at(i);
      }
      const double both = s.w * s.qq - s.q * s.q;
      if (!(both > 0)) {
        break;
      }
      r = {(s.w * s.xq - s.q * s.x) / both, (s.q * s.xq - s.qq * s.x) / both};
      if (r.minimum < 0) {
        r = {s.xq / s.qq, 0};
      }
      if (!(r.step > 0)) {
        break;
      }
      measure(r);
    }
  }
  return best;
}

}  // namespace detail

/// A block of 256 values encoded: what q4_k and q5_k pack.
struct k_block {
  f16 d = {},                // scale of the steps
      least = {};            // scale of the minima
  int step[8] = {},          // of each part, 0 to 63
      minimum[8] = {};       // of each part, 0 to 63
  std::uint8_t q[256] = {};  // codes, not packed

  /// Near the least weighted squared error with codes 0 to `most`: every part alone first, by least
  /// squares; then the scales of the block, by least squares again, and the parts' whole numbers beside
  /// their first ones. x: [256], finite; importance: [256], none negative, or null. About 0.3
  /// microseconds a value.
  static k_block of(const float* x, const float* importance, int most) {
    detail::range part[8];
    double step = 0, minimum = 0;
    for (int j = 0; j < 8; ++j) {
      part[j] = detail::fit_range(x + 32 * j, importance == nullptr ? nullptr : importance + 32 * j,
                                  most);
      step = std::max(step, part[j].step);
      minimum = std::max(minimum, part[j].minimum);
    }
    k_block now;
    now.d = to_f16(static_cast<float>(step / 63));
    now.least = to_f16(static_cast<float>(minimum / 63));
    for (int j = 0; j < 8; ++j) {
      now.step[j] = now.scale() > 0 ? detail::whole_within(part[j].step / now.scale(), 0, 63) : 0;
      now.minimum[j] =
          now.lowest() > 0 ? detail::whole_within(part[j].minimum / now.lowest(), 0, 63) : 0;
    }
    double error = now.choose(x, importance, most);
    for (int round = 0; round < 3; ++round) {
      k_block next = now;
      if (!next.refit(x, importance)) {
        break;
      }
      const double then = next.choose(x, importance, most);
      if (!(then < error)) {
        break;
      }
      now = next;
      error = then;
    }
    return now;
  }

 private:
  [[nodiscard]] double scale() const { return static_cast<double>(to_float(d)); }
  [[nodiscard]] double lowest() const { return static_cast<double>(to_float(least)); }

  // The codes, and for every part the best of the steps and minima beside its own. Returns the error.
  double choose(const float* x, const float* importance, int most) {
    double total = 0;
    for (int j = 0; j < 8; ++j) {
      const float* v = x + 32 * j;
      const float* w = importance == nullptr ? nullptr : importance + 32 * j;
      const int s = step[j], m = minimum[j];
      double part = std::numeric_limits<double>::infinity();
      for (int ds = -1; ds <= 1; ++ds) {
        for (int dm = -1; dm <= 1; ++dm) {
          const int try_s = std::clamp(s + ds, 0, 63), try_m = std::clamp(m + dm, 0, 63);
          const double a = scale() * try_s, b = lowest() * try_m;
          std::uint8_t code[32];
          double error = 0;
          for (int i = 0; i < 32; ++i) {
            const auto value = static_cast<double>(v[i]);
            const int c = a > 0 ? detail::whole_within((value + b) / a, 0, most) : 0;
            const double off = a * c - b - value;
            error += (w == nullptr ? 1.0 : static_cast<double>(w[i])) * off * off;
            code[i] = static_cast<std::uint8_t>(c);
          }
          if (error < part) {
            part = error;
            step[j] = try_s;
            minimum[j] = try_m;
            std::copy_n(code, 32, q + 32 * j);
          }
        }
      }
      total += part;
    }
    return total;
  }

  // d and least by least squares at these codes, steps and minima. False where they say nothing.
  bool refit(const float* x, const float* importance) {
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int i = 0; i < 256; ++i) {
      const double w = importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
      const auto value = static_cast<double>(x[i]);
      const double a = step[i / 32] * static_cast<int>(q[i]), b = -minimum[i / 32];
      aa += w * a * a;
      ab += w * a * b;
      bb += w * b * b;
      ax += w * a * value;
      bx += w * b * value;
    }
    const double both = aa * bb - ab * ab;
    const bool two = both > 1e-9 * aa * bb;
    if (!(aa > 0)) {
      return false;
    }
    const double new_d = two ? (ax * bb - bx * ab) / both : (ax - lowest() * ab) / aa;
    const double new_least = two ? (bx * aa - ax * ab) / both : lowest();
    if (!(new_d > 0) || !(new_least >= 0)) {
      return false;
    }
    d = to_f16(static_cast<float>(new_d));
    least = to_f16(static_cast<float>(new_least));
    return true;
  }
};

}  // namespace zoq
