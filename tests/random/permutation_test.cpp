// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/permutation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::index_t;
using zoq::permutation;

TEST_CASE("permutation: every number comes once") {
  for (index_t n : {0, 1, 2, 3, 10, 257, 5000}) {
    std::vector<index_t> order = permutation(n, 9);
    CHECK(static_cast<index_t>(order.size()) == n);
    std::sort(order.begin(), order.end());
    index_t wrong = 0;
    for (index_t i = 0; i < n; ++i) {
      wrong += order[static_cast<std::size_t>(i)] != i;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("permutation: a function of n and the seed") {
  CHECK(permutation(100, 1) == permutation(100, 1));
  CHECK(permutation(100, 1) != permutation(100, 2));
  CHECK(permutation(100, 1) != permutation(100, zoq::seed_t{1} << 40 | 1));
}

TEST_CASE("permutation: a negative number is refused") {
  CHECK(zoq::test::message_of([] { permutation(-1, 0); }) == "permutation of -1 elements");
}

TEST_CASE("permutation: goldens, so that a run takes the same rows on later versions") {
  // From a second implementation of Philox and the shuffle, in integers of any length.
  CHECK(permutation(10, 1) == std::vector<index_t>{6, 4, 8, 2, 1, 0, 3, 7, 9, 5});
  CHECK(permutation(10, 2) == std::vector<index_t>{3, 2, 8, 7, 6, 9, 0, 4, 5, 1});
}

TEST_CASE("permutation: all 24 orders of 4 are equally likely") {
  std::map<std::vector<index_t>, int> counts;
  constexpr int trials = 24000;
  for (int seed = 0; seed < trials; ++seed) {
    ++counts[permutation(4, static_cast<zoq::seed_t>(seed))];
  }
  CHECK(counts.size() == 24);
  double chi2 = 0;
  for (const auto& [order, count] : counts) {
    chi2 += (count - trials / 24) * (count - trials / 24) / (trials / 24.0);
  }
  CHECK(chi2 < 49.73);  // 23 degrees of freedom, exceeded by 1 in 1000; the seeds are fixed
}
