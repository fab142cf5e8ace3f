// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/philox.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <set>
#include <utility>

using zoq::philox;
using zoq::words4;

namespace {

bool equal(const words4& a, std::uint32_t w0, std::uint32_t w1, std::uint32_t w2,
           std::uint32_t w3) {
  return a.at[0] == w0 && a.at[1] == w1 && a.at[2] == w2 && a.at[3] == w3;
}

}  // namespace

TEST_CASE("philox: the known answers that Random123 publishes for philox4x32-10") {
  // Counter words 0, 1 are the block, 2, 3 the stream; key words 0, 1 the seed; low word first.
  CHECK(equal(philox(0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr std::uint64_t ones = ~std::uint64_t{0};
  CHECK(equal(philox(ones, ones, ones), 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  CHECK(equal(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e), 0xd16cfe09,
              0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST_CASE("philox: the stream is 0 unless it is named") {
  const words4 w = philox(5, 6, 0);
  CHECK(equal(philox(5, 6), w.at[0], w.at[1], w.at[2], w.at[3]));
}

TEST_CASE("philox: every bit of seed, block and stream counts") {
  std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
  const auto note = [&](const words4& w) { seen.insert({w.at[0], w.at[1]}); };
  note(philox(0, 0, 0));
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t x = std::uint64_t{1} << bit;
    note(philox(x, 0, 0));
    note(philox(0, x, 0));
    note(philox(0, 0, x));
  }
  CHECK(seen.size() == 1 + 3 * 64);
}
