// Random words as a function of (seed, block): Philox4x32-10, bit for bit that of Random123. No state, no
// order.
//
//     words4 w = zoq::philox(seed, block);    // four independent 32-bit words
//
// The ten rounds stand here, and not in an include of Random123, because its headers bring streams and
// intrinsics into every program: more than a second of each compile. tests/random/philox_test.cpp compares the
// two. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// Four random words of 32 bits.
struct words4 {
  std::uint32_t at[4];  // independent
};

namespace detail {

/// One round, with the key of round `number`.
ZOQ_HD inline words4 philox_round(const words4& c, std::uint32_t key0, std::uint32_t key1,
                                  std::uint32_t number) {
  const std::uint64_t a = std::uint64_t{0xD2511F53} * c.at[0];
  const std::uint64_t b = std::uint64_t{0xCD9E8D57} * c.at[2];
  return {{static_cast<std::uint32_t>(b >> 32) ^ c.at[1] ^ (key0 + number * 0x9E3779B9u),
           static_cast<std::uint32_t>(b),
           static_cast<std::uint32_t>(a >> 32) ^ c.at[3] ^ (key1 + number * 0xBB67AE85u),
           static_cast<std::uint32_t>(a)}};
}

}  // namespace detail

/// The four words of a block. The key is the seed, the counter (block, stream).
ZOQ_HD inline words4 philox(seed_t seed, std::uint64_t block, std::uint64_t stream = 0) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  words4 w{{low(block), high(block), low(stream), high(stream)}};
  const std::uint32_t key0 = low(seed), key1 = high(seed);
  w = detail::philox_round(w, key0, key1, 0);
  w = detail::philox_round(w, key0, key1, 1);
  w = detail::philox_round(w, key0, key1, 2);
  w = detail::philox_round(w, key0, key1, 3);
  w = detail::philox_round(w, key0, key1, 4);
  w = detail::philox_round(w, key0, key1, 5);
  w = detail::philox_round(w, key0, key1, 6);
  w = detail::philox_round(w, key0, key1, 7);
  w = detail::philox_round(w, key0, key1, 8);
  return detail::philox_round(w, key0, key1, 9);
}

}  // namespace zoq
