// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/hash.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "random_values.hpp"

using zoq::content_hash;
using zoq::index_t;

namespace {

std::vector<std::byte> some_bytes(index_t n, zoq::seed_t seed) {
  std::vector<std::byte> out;
  for (index_t i = 0; i < n; ++i) {
    out.push_back(static_cast<std::byte>(zoq::test::random_word(seed, i) & 0xffu));
  }
  return out;
}

std::uint64_t hash_of(const std::vector<std::byte>& bytes) {
  return content_hash().add(std::span(bytes)).value();
}

}  // namespace

TEST_CASE("content_hash: the pieces are framed") {
  const auto of = [](auto... pieces) {
    content_hash h;
    (h.add(std::string_view(pieces)), ...);
    return h.value();
  };
  CHECK(of("ab", "c") != of("a", "bc"));
  CHECK(of("abc") != of("ab", "c"));
  CHECK(of() != of(""));
  CHECK(of("") != of("", ""));
  CHECK(of("a", "b") != of("b", "a"));
  CHECK(of("ab", "c") == of("ab", "c"));
}

TEST_CASE("content_hash: zeros of different number differ") {
  std::set<std::uint64_t> seen;
  for (index_t n = 0; n <= 200; ++n) {
    seen.insert(hash_of(std::vector<std::byte>(static_cast<std::size_t>(n))));
  }
  CHECK(seen.size() == 201);
}

TEST_CASE("content_hash: a flipped bit anywhere is another hash, and half of its bits flip") {
  double flipped = 0, flips = 0;
  for (const index_t n : {1, 7, 8, 31, 32, 33, 64, 100}) {
    std::vector<std::byte> bytes = some_bytes(n, static_cast<zoq::seed_t>(n));
    const std::uint64_t before = hash_of(bytes);
    std::set<std::uint64_t> seen = {before};
    for (std::byte& at : bytes) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        at ^= std::byte{1} << bit;
        const std::uint64_t after = hash_of(bytes);
        seen.insert(after);
        flipped += std::popcount(before ^ after);
        flips += 1;
        at ^= std::byte{1} << bit;
      }
    }
    CHECK(static_cast<index_t>(seen.size()) == 8 * n + 1);
  }
  // 32 of 64 bits, with a standard deviation of 4 / sqrt(flips) = 0.09 for ideal hashes.
  CHECK(flipped / flips > 31);
  CHECK(flipped / flips < 33);
}

TEST_CASE("content_hash: exchanged words are seen, within a lane and between lanes") {
  std::vector<std::byte> bytes = some_bytes(128, 3);
  std::set<std::uint64_t> seen = {hash_of(bytes)};
  for (std::size_t a = 0; a < 16; ++a) {
    for (std::size_t b = a + 1; b < 16; ++b) {
      std::vector<std::byte> other = bytes;
      for (std::size_t i = 0; i < 8; ++i) {
        std::swap(other[8 * a + i], other[8 * b + i]);
      }
      seen.insert(hash_of(other));
    }
  }
  CHECK(seen.size() == 1 + 16 * 15 / 2);
}

TEST_CASE("content_hash: hex is the value in 16 digits") {
  content_hash h;
  h.add("zoq");
  CHECK(h.hex().size() == 16);
  CHECK(std::stoull(h.hex(), nullptr, 16) == h.value());
  CHECK(h.hex().find_first_not_of("0123456789abcdef") == std::string::npos);
}

TEST_CASE("content_hash: goldens, so that masks and records keep their names") {
  // From a second implementation of the same definition, in integers of any length.
  CHECK(content_hash().hex() == "1375bcb92796262a");
  CHECK(content_hash().add("").hex() == "f46c858d8b1f821b");
  CHECK(content_hash().add("zoq").hex() == "5d25192ea6fdb916");
  std::vector<std::byte> bytes;
  for (int i = 0; i < 100; ++i) {
    bytes.push_back(static_cast<std::byte>(i));
  }
  CHECK(content_hash().add(std::span(bytes)).add(std::uint64_t{576}).hex() == "63b3320b75afab13");
}
