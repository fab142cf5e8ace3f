// What a scheme's tests share: encode a run of values, decode it again.
//
//     auto blocks = zoq::test::encoded<zoq::q4_0>(x);
//     std::vector<float> y = zoq::test::decoded<zoq::q4_0>(blocks);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq::test {

template <quant_scheme S>
std::vector<typename S::block> encoded(const std::vector<float>& x,
                                       const float* importance = nullptr) {
  std::vector<typename S::block> out(x.size() / static_cast<std::size_t>(S::block_size));
  typename S::row row;
  S::encode(x.data(), importance, static_cast<index_t>(x.size()), row, out.data());
  return out;
}

template <quant_scheme S>
std::vector<float> decoded(const std::vector<typename S::block>& blocks) {
  std::vector<float> out(blocks.size() * static_cast<std::size_t>(S::block_size));
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    S::decode({}, blocks[b], out.data() + b * static_cast<std::size_t>(S::block_size));
  }
  return out;
}

/// A row through the format and back, with what the row owns.
template <quant_scheme S>
std::vector<float> through(const std::vector<float>& x, const float* importance = nullptr) {
  std::vector<typename S::block> blocks(x.size() / static_cast<std::size_t>(S::block_size));
  typename S::row row{};
  S::encode(x.data(), importance, static_cast<index_t>(x.size()), row, blocks.data());
  std::vector<float> out(x.size());
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    S::decode(row, blocks[b], out.data() + b * static_cast<std::size_t>(S::block_size));
  }
  return out;
}

/// Root of sum w (a - b)^2 / sum w b^2; all w 1 where there is no importance.
inline double relative_to(const std::vector<float>& a, const std::vector<float>& b,
                          const float* importance = nullptr) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double w = importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
    const double off = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += w * off * off;
    size += w * static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / size);
}

/// The value of a binary16 number by its definition, in double.
inline double f16_value(f16 h) {
  const unsigned exponent = h.bits >> 10 & 31u;
  const double fraction = (h.bits & 1023u) * 0x1p-10;
  const double sign = (h.bits & 0x8000u) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    return sign * (fraction == 0 ? HUGE_VAL : std::nan(""));
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, -14)
                               : std::ldexp(1 + fraction, static_cast<int>(exponent) - 15));
}

/// Equal as numbers, of the same sign, or both NaN.
inline bool same_number(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

}  // namespace zoq::test
