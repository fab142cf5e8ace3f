// Elementary functions of our own: no C library's, free of branches so that loops over them become
// SIMD code, callable on CPU and CUDA. Where a target has a fused multiply-add, compilers use it
// and save a rounding: the last bits are the target's.
//
//     float p = zoq::exp_f32(score - largest);
//     float s = zoq::dot_lanes(a, b, n);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// condition ? a : b, by bits: a choice between floats that stays free of branches in vector code
/// (compilers keep a branch where a comparison might trap).
ZOQ_HD inline float pick(bool condition, float a, float b) {
  const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(a) & mask) |
                              (std::bit_cast<std::uint32_t>(b) & ~mask));
}

/// e^x with a relative error of at most 2^-22 for x in [-87, 88]; smaller x give e^-87 (1e-38),
/// larger give e^88. NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln(2)/2, so e^x = 2^n e^r; e^r by its Taylor polynomial to r^7,
/// whose remainder is below 6e-9.
ZOQ_HD inline float exp_f32(float x) {
  x = pick(x < -87.0f, -87.0f, x);
  x = pick(x > 88.0f, 88.0f, x);
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  const float y = std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
  return y + (x - x);  // the sum of bits above could turn a NaN into a number
}

inline constexpr index_t lanes = 16;  // partial sums of a reduction: one AVX-512 register of floats

/// Sum of `lanes` partial sums as a balanced tree.
ZOQ_HD inline float sum_of_lanes(const float* partial) {
  float s[lanes];
  for (index_t l = 0; l < lanes; ++l) {
    s[l] = partial[l];
  }
  for (index_t half = lanes / 2; half > 0; half /= 2) {
    for (index_t l = 0; l < half; ++l) {
      s[l] += s[l + half];
    }
  }
  return s[0];
}

/// sum_i a[i] b[i]: `lanes` running sums, then a tree. The order depends on n alone.
ZOQ_HD inline float dot_lanes(const float* a, const float* b, index_t n) {
  float partial[lanes] = {};
  index_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (index_t l = 0; l < lanes; ++l) {
      partial[l] += a[i + l] * b[i + l];
    }
  }
  for (index_t l = 0; i + l < n; ++l) {
    partial[l] += a[i + l] * b[i + l];
  }
  return sum_of_lanes(partial);
}

/// sum_i a[i] in the same order.
ZOQ_HD inline float sum_lanes(const float* a, index_t n) {
  float partial[lanes] = {};
  index_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (index_t l = 0; l < lanes; ++l) {
      partial[l] += a[i + l];
    }
  }
  for (index_t l = 0; i + l < n; ++l) {
    partial[l] += a[i + l];
  }
  return sum_of_lanes(partial);
}

}  // namespace zoq
