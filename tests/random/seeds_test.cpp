// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/seeds.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>

using zoq::derive_seed;
using zoq::purpose;
using zoq::seed_t;

namespace {
constexpr purpose purposes[] = {purpose::directions, purpose::probes, purpose::rows,
                                purpose::windows,    purpose::masks,  purpose::sampling,
                                purpose::frames};
}

TEST_CASE("derive_seed: goldens, so that a record replays on later versions") {
  // From a second implementation of Philox, in integers of any length.
  CHECK(derive_seed(0, purpose::directions, 0) == 0x1348e23f2dce73e5);
  CHECK(derive_seed(7, purpose::rows, 5) == 0x612b16ff43521c9e);
}

TEST_CASE("derive_seed: other runs, purposes and numbers give other seeds") {
  std::set<seed_t> seen;
  for (const seed_t run : {seed_t{0}, seed_t{1}, seed_t{1} << 63}) {
    for (const purpose what : purposes) {
      for (std::uint64_t number = 0; number < 2000; ++number) {
        seen.insert(derive_seed(run, what, number));
      }
      seen.insert(derive_seed(run, what, ~std::uint64_t{0}));
    }
  }
  CHECK(seen.size() == 3 * 7 * 2001);
}
