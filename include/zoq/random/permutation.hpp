// A seeded permutation of 0 .. n-1: the same on every platform.
//
//     std::vector<index_t> order = zoq::permutation(rows, seed);
//
// Fisher and Yates's shuffle (Knuth, volume 2, algorithm P) with one 64-bit Philox word an
// exchange; the high half of a 64 x 64 bit product bounds it, so the bias is below n / 2^64.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// The numbers 0 .. n-1 in the order of this seed. Throws when n is negative.
std::vector<index_t> permutation(index_t n, seed_t seed);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/random/philox.hpp"

namespace zoq {

ZOQ_BODY std::vector<index_t> permutation(index_t n, seed_t seed) {
  require(n >= 0, "permutation of ", n, " elements");
  std::vector<index_t> order(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<index_t>(i);
  }
  __extension__ using wide = unsigned __int128;
  for (std::size_t i = order.size(); i > 1; --i) {
    const words4 w = philox(seed, i);
    const std::uint64_t word = w.at[0] | static_cast<std::uint64_t>(w.at[1]) << 32;
    const auto j = static_cast<std::size_t>((static_cast<wide>(word) * i) >> 64);
    std::swap(order[i - 1], order[j]);
  }
  return order;
}

}  // namespace zoq

#endif
