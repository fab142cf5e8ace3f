// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/keyed_hash.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <unordered_set>

TEST_CASE("keyed_hash: equal keys have one hash, and lengths count") {
  const zoq::keyed_hash hash;
  const std::string text = "some bytes that are longer than one word";
  for (std::size_t n = 0; n <= text.size(); ++n) {
    CHECK(hash(std::string_view(text).substr(0, n)) == zoq::keyed_hash()(text.substr(0, n)));
  }
  std::set<std::size_t> seen;
  for (std::size_t n = 0; n <= 20; ++n) {
    seen.insert(hash(std::string(n, '\0')));
  }
  CHECK(seen.size() == 21);
  CHECK(hash(std::uint64_t{7}) == zoq::keyed_hash()(std::uint64_t{7}));
}

TEST_CASE("keyed_hash: keys that fall into one bucket of a table of numbers are spread") {
  // With the standard library's hash of numbers, multiples of the number of buckets share one.
  std::unordered_set<std::uint64_t, zoq::keyed_hash> table;
  table.rehash(10000);
  const std::uint64_t buckets = table.bucket_count();
  for (std::uint64_t i = 0; i < 5000; ++i) {
    table.insert(i * buckets);
  }
  CHECK(table.bucket_count() == buckets);
  std::size_t most = 0;
  for (std::size_t b = 0; b < table.bucket_count(); ++b) {
    most = std::max(most, table.bucket_size(b));
  }
  CHECK(most < 20);  // of 5,000 in 10,000 buckets; 20 in one by chance: below 1e-20
}
