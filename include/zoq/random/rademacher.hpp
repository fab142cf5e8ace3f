// rademacher: every element is +1 or -1 with equal chance: the top bit of its Philox word. The same
// bits on every machine and back-end.
//
//     float4v z = zoq::rademacher{}.at(seed, order).four(block);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/philox.hpp"

namespace zoq {

struct rademacher {
  static constexpr std::string_view name = "rademacher";
  static constexpr std::string_view summary = "independent elements +1 or -1, equally likely";
  static constexpr std::string_view paper = "Spall, IEEE TAC 37(3), 1992";

  /// The field of one seed.
  struct field_type {
    seed_t seed;  // that names the field
    /// The elements 4 block ... 4 block + 3.
    ZOQ_HD float4v four(index_t block) const {
      const words4 w = philox(seed, static_cast<std::uint64_t>(block));
      float4v z{};
      for (int j = 0; j < 4; ++j) {
        z.at[j] = (w.at[j] >> 31) != 0 ? 1.0f : -1.0f;
      }
      return z;
    }
  };

  /// The field of this seed; the order does not matter.
  [[nodiscard]] static field_type at(seed_t seed, const value_order&) { return {seed}; }
};
static_assert(direction<rademacher>);

}  // namespace zoq
