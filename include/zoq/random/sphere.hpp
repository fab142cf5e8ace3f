// sphere: uniform on the sphere of radius sqrt(k), as a standard normal field over its length:
//
//     z = g sqrt(k) / |g|,   g ~ N(0, I_k)         so E[z z^T] = I and |z|^2 = k, always
//
//     auto field = zoq::sphere{}.at(seed, order);    // order.size and order.key decide |g|
//
// The squared length of a pair of Box and Muller's numbers is -2 ln u: no angle is needed, and a seed
// costs one logarithm for two values, once for each field. Where a view leaves values out (order.key)
// the others keep their directions up to a common factor near 1, the sphere's. Flaxman et al., arXiv
// cs/0408007.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/gaussian.hpp"

namespace zoq {

struct sphere {
  static constexpr std::string_view name = "sphere";
  static constexpr std::string_view summary = "uniform on the sphere of radius sqrt(k)";
  static constexpr std::string_view paper = "arXiv cs/0408007";

  /// The field of one seed.
  struct field_type {
    gaussian::field_type normal;  // g
    double factor;                // sqrt(k) / |g|
    /// The elements 4 block ... 4 block + 3.
    ZOQ_HD float4v four(index_t block) const {
      float4v z = normal.four(block);
      for (float& x : z.at) {
        x = static_cast<float>(factor * static_cast<double>(x));
      }
      return z;
    }
  };

  /// Cost: one pass over the k values, in the caller's thread. Throws when there are none, and when
  /// they have keys that the host cannot read.
  [[nodiscard]] static field_type at(seed_t seed, const value_order& order);
};
static_assert(direction<sphere>);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY sphere::field_type sphere::at(seed_t seed, const value_order& order) {
  require(order.size > 0, "sphere: there are no values");
  require(order.key == nullptr || order.on_host,
          "sphere: the values have keys on a device; use gaussian or rademacher there");
  const gaussian::field_type normal{seed};
  double squares = 0;
  for (index_t block = 0; 4 * block < order.size; ++block) {
    if (order.key == nullptr && 4 * block + 4 <= order.size) {
      const words4 w = philox(seed, static_cast<std::uint64_t>(block));
      for (int j = 0; j < 4; j += 2) {
        squares -= 2.0 * std::log((static_cast<double>(w.at[j]) + 0.5) * 0x1p-32);
      }
    } else {
      const float4v z = four_of(normal, order.key, order.size, block);
      for (index_t j = 0; j < 4 && 4 * block + j < order.size; ++j) {
        squares += static_cast<double>(z.at[j]) * static_cast<double>(z.at[j]);
      }
    }
  }
  return {normal, std::sqrt(static_cast<double>(order.size) / squares)};
}

}  // namespace zoq

#endif
