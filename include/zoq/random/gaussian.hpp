// gaussian: every element is standard normal, by Box and Muller's transform of two Philox words:
//
//     r = sqrt(-2 ln u);  z = (r cos 2 pi v, r sin 2 pi v),   u in (0, 1], v in [0, 1)
//
// Computed in double and rounded to float: where C libraries differ in the last bits of a double,
// the floats differ by at most 1 ulp, and then rarely. u is at least 2^-33, so |z| <= 6.8.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/philox.hpp"

namespace zoq {

/// Four standard normal numbers from four random words.
ZOQ_HD inline float4v normal_of(const words4& w) {
  float4v z{};
  for (int j = 0; j < 4; j += 2) {
    const double u = (static_cast<double>(w.at[j]) + 0.5) * 0x1p-32;
    const double angle = 6.283185307179586 * (static_cast<double>(w.at[j + 1]) * 0x1p-32);
    const double r = std::sqrt(-2.0 * std::log(u));
    z.at[j] = static_cast<float>(r * std::cos(angle));
    z.at[j + 1] = static_cast<float>(r * std::sin(angle));
  }
  return z;
}

struct gaussian {
  static constexpr std::string_view name = "gaussian";
  static constexpr std::string_view summary = "independent standard normal elements";
  static constexpr std::string_view paper = "arXiv 2305.17333";

  /// The field of one seed.
  struct field_type {
    seed_t seed;  // that names the field
    /// The elements 4 block ... 4 block + 3.
    ZOQ_HD float4v four(index_t block) const {
      return normal_of(philox(seed, static_cast<std::uint64_t>(block)));
    }
  };

  /// The field of this seed; the order does not matter.
  [[nodiscard]] static field_type at(seed_t seed, const value_order&) { return {seed}; }
};
static_assert(direction<gaussian>);

}  // namespace zoq
