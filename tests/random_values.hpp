// Numbers for tests: functions of a seed, the same on every machine.
//
//     std::vector<float> x = zoq::test::uniform(1000, 7);    // in [-1, 1)
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/philox.hpp"

namespace zoq::test {

/// Word `i` of the stream that `seed` names.
inline std::uint32_t random_word(seed_t seed, index_t i) {
  return philox(seed, static_cast<std::uint64_t>(i / 4), 77).at[i % 4];
}

/// n floats, uniform in [low, high].
inline std::vector<float> uniform(index_t n, seed_t seed, double low = -1, double high = 1) {
  std::vector<float> out;
  for (index_t i = 0; i < n; ++i) {
    const double u = static_cast<double>(random_word(seed, i)) * 0x1p-32;
    out.push_back(static_cast<float>(low + (high - low) * u));
  }
  return out;
}

/// n whole numbers in [-most, most], as floats: sums of their products are exact in any order.
inline std::vector<float> whole_numbers(index_t n, seed_t seed, int most) {
  std::vector<float> out;
  for (index_t i = 0; i < n; ++i) {
    const std::uint32_t word = random_word(seed, i) % static_cast<std::uint32_t>(2 * most + 1);
    out.push_back(static_cast<float>(static_cast<int>(word) - most));
  }
  return out;
}

}  // namespace zoq::test
