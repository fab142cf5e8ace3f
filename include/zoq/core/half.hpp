// The two 16-bit float formats as storage types, and their exact conversions to float.
//
//     float w = zoq::to_float(zoq::f16{0x3c00});   // 1.0f
//     zoq::bf16 b = zoq::to_bf16(1.5f);            // rounds to nearest, ties to even
//
// Format: IEEE 754-2008 binary16 (1-5-10); bfloat16 (1-8-7, the upper half of a float).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// binary16: 11 bits of precision, largest 65504.
struct f16 {
  std::uint16_t bits;  // sign 1, exponent 5, mantissa 10
};
/// bfloat16: 8 bits of precision, the range of a float.
struct bf16 {
  std::uint16_t bits;  // sign 1, exponent 8, mantissa 7
};

namespace detail {
// std::bit_cast is constexpr, and so allowed in device code.
ZOQ_HD constexpr float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
ZOQ_HD constexpr std::uint32_t to_bits(float x) { return std::bit_cast<std::uint32_t>(x); }
}  // namespace detail

/// Exact for every input; subnormals, infinities and NaN included. Branch-free but for the range.
ZOQ_HD constexpr float to_float(f16 h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
  const std::uint32_t rest = static_cast<std::uint32_t>(h.bits & 0x7fffu);
  // Move exponent and mantissa to their float places and correct the bias by an exact product.
  const float finite = detail::from_bits(rest << 13) * 0x1p112f;
  const std::uint32_t magnitude =
      rest >= 0x7c00u ? 0x7f800000u | (rest & 0x3ffu) << 13 : detail::to_bits(finite);
  return detail::from_bits(sign | magnitude);
}

/// Exact for every input.
ZOQ_HD constexpr float to_float(bf16 b) {
  return detail::from_bits(static_cast<std::uint32_t>(b.bits) << 16);
}

/// As it is: for code of any float format.
ZOQ_HD constexpr float to_float(float x) { return x; }

/// Rounds to nearest, ties to even; overflow becomes infinity; NaN stays (a quiet) NaN.
ZOQ_HD constexpr f16 to_f16(float x) {
  const std::uint32_t bits = detail::to_bits(x);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t rest = bits & 0x7fffffffu;
  std::uint32_t half = 0;
  if (rest > 0x7f800000u) {
    half = 0x7e00u;
  } else if (rest >= 0x47800000u) {  // 2^16 and above, infinity included
    half = 0x7c00u;
  } else if (rest < 0x38800000u) {  // below 2^-14: adding 0.5 rounds at the subnormal step 2^-24
    half = detail::to_bits(detail::from_bits(rest) + 0.5f) - 0x3f000000u;
  } else {
    half = (rest + 0x0fffu + (rest >> 13 & 1u) - 0x38000000u) >> 13;  // a carry reaches infinity
  }
  return {static_cast<std::uint16_t>(sign | half)};
}

/// Rounds to nearest, ties to even; overflow becomes infinity; NaN stays (a quiet) NaN.
ZOQ_HD constexpr bf16 to_bf16(float x) {
  const std::uint32_t bits = detail::to_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return {static_cast<std::uint16_t>(bits >> 16 | 0x40u)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

}  // namespace zoq
