// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/query.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

using zoq::query;

namespace {

query at(zoq::seed_t seed, double scale, std::uint64_t batch = query::this_batch) {
  return {.seed = seed, .scale = scale, .batch = batch};
}

/// How many queries are evaluated together, from the first to the last.
std::vector<std::size_t> groups(const std::vector<query>& asked, std::size_t most) {
  std::vector<std::size_t> out;
  for (std::size_t first = 0; first < asked.size(); first += out.back()) {
    out.push_back(zoq::evaluated_together(std::span(asked).subspan(first), most));
    if (out.back() == 0) {
      FAIL("no query");
    }
  }
  return out;
}
using sizes = std::vector<std::size_t>;

}  // namespace

// They go into records and over wires as bytes.
static_assert(std::is_trivially_copyable_v<zoq::query>);
static_assert(std::is_trivially_copyable_v<zoq::answer>);
static_assert(std::is_trivially_copyable_v<zoq::term>);

TEST_CASE("query: by default the values as they are, on this batch") {
  constexpr zoq::query q;
  CHECK(q.scale == 0);
  CHECK(q.shape == nullptr);
  CHECK(q.origin == nullptr);
  CHECK(q.batch == zoq::query::this_batch);
  CHECK(zoq::gradient{}.terms.empty());
}

TEST_CASE("query: two are opposite when all but the sign of their scales is the same") {
  const float values[2] = {};
  const query a = {.seed = 7, .scale = 0.5, .shape = values, .origin = values + 1, .batch = 3};
  query b = a;
  CHECK_FALSE(opposite(a, b));
  b.scale = -0.5;
  CHECK(opposite(a, b));
  CHECK(opposite(b, a));
  for (const query& other :
       {query{8, -0.5, values, values + 1, 3}, query{7, -0.25, values, values + 1, 3},
        query{7, -0.5, nullptr, values + 1, 3}, query{7, -0.5, values, nullptr, 3},
        query{7, -0.5, values, values + 1, 4},
        query{7, -std::numeric_limits<double>::quiet_NaN(), values, values + 1, 3}}) {
    CHECK_FALSE(opposite(a, other));
  }
  CHECK_FALSE(opposite(query{}, query{}));  // no step at all: two base points
  CHECK_FALSE(opposite(at(7, 0.0), at(7, -0.0)));
}

TEST_CASE("query: whole pairs are evaluated together, at least one") {
  const std::vector<query> pairs = {at(1, 1),  at(1, -1), at(2, 1), at(2, -1),
                                    at(3, -2), at(3, 2),  at(4, 1), at(4, -1)};
  CHECK(groups(pairs, 8) == sizes{8});
  CHECK(groups(pairs, 100) == sizes{8});
  CHECK(groups(pairs, 7) == sizes{6, 2});
  CHECK(groups(pairs, 5) == sizes{4, 4});
  CHECK(groups(pairs, 3) == sizes{2, 2, 2, 2});
  CHECK(groups(pairs, 2) == sizes{2, 2, 2, 2});
  CHECK(groups(pairs, 1) == sizes{2, 2, 2, 2});
}

TEST_CASE("query: single points are evaluated together, apart from pairs") {
  const std::vector<query> singles = {{}, at(1, 1), at(2, 1), at(3, 1), {}};
  CHECK(groups(singles, 8) == sizes{5});
  CHECK(groups(singles, 2) == sizes{2, 2, 1});
  CHECK(groups(singles, 1) == sizes{1, 1, 1, 1, 1});
  // A base and two probes; a probe, a base and a lone step; three steps along one direction.
  const std::vector<query> mixed = {{},       at(1, 1), at(1, -1), at(2, 1), at(2, -1), {},
                                    at(3, 1), at(4, 1), at(4, -1), at(4, 1), at(5, -1)};
  CHECK(groups(mixed, 8) == sizes{1, 4, 2, 2, 2});
  CHECK(groups(mixed, 3) == sizes{1, 2, 2, 2, 2, 2});
  CHECK(groups(mixed, 1) == sizes{1, 2, 2, 1, 1, 2, 1, 1});
}

TEST_CASE("query: what is a pair does not depend on how many are evaluated together") {
  // All ways to choose 7 points among a base and two directions' ends.
  const query points[] = {{}, at(1, 1), at(1, -1), at(2, 1), at(2, -1)};
  int wrong = 0;
  for (int code = 0; code < 78125; code += 3) {
    std::vector<query> asked;
    for (int i = 0, rest = code; i < 7; ++i, rest /= 5) {
      asked.push_back(points[rest % 5]);
    }
    const auto pairs = [&](std::size_t most) {  // of every query, whether it is in a pair
      std::vector<bool> out;
      std::size_t first = 0;
      for (const std::size_t n : groups(asked, most)) {
        const bool paired = n % 2 == 0 && opposite(asked[first], asked[first + 1]);
        for (std::size_t i = 0; paired && i < n; i += 2) {
          wrong += !opposite(asked[first + i], asked[first + i + 1]);
        }
        out.insert(out.end(), n, paired);
        first += n;
      }
      return out;
    };
    const auto wanted = pairs(8);
    for (const std::size_t most : {1u, 2u, 3u, 5u}) {
      wrong += pairs(most) != wanted;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("query: batches are evaluated apart") {
  const std::vector<query> asked = {at(1, 1, 5), at(1, -1, 5), at(1, 1, 6),  at(1, -1, 6),
                                    at(2, 1, 6), at(2, -1, 6), at(3, 1),     at(4, 1, 7),
                                    at(4, 1, 8), at(4, -1, 9), at(4, -1, 9), at(4, 1, 8)};
  CHECK(groups(asked, 8) == sizes{2, 4, 1, 1, 1, 2, 1});
  CHECK(groups(asked, 1) == sizes{2, 2, 2, 1, 1, 1, 1, 1, 1});
}
