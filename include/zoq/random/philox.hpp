// Random words as a function of (seed, block): Philox4x32-10 from Random123. No state, no order.
//
//     words4 w = zoq::philox(seed, block);    // four independent 32-bit words
//
// Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Random123/philox.h>

#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// Four random words of 32 bits.
struct words4 {
  std::uint32_t at[4];  // independent
};

/// The four words of a block. The key is the seed, the counter (block, stream).
ZOQ_HD inline words4 philox(seed_t seed, std::uint64_t block, std::uint64_t stream = 0) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const r123::Philox4x32::ctr_type counter = {{low(block), high(block), low(stream), high(stream)}};
  const r123::Philox4x32::key_type key = {{low(seed), high(seed)}};
  const r123::Philox4x32::ctr_type words = r123::Philox4x32()(counter, key);
  return {{words.v[0], words.v[1], words.v[2], words.v[3]}};
}

}  // namespace zoq
