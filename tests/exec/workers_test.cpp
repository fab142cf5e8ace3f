// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/workers.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

TEST_CASE("workers: every index once, whatever the grain and the threads") {
  for (const int threads : {1, 2, 3}) {
    const zoq::detail::workers all(threads);
    CHECK(all.count() == threads);
    for (const zoq::index_t n : {0, 1, 7, 1000}) {
      for (const zoq::index_t grain : {1, 10, 2000}) {
        std::vector<int> times(static_cast<std::size_t>(n));
        all.split(n, grain, [&](zoq::index_t begin, zoq::index_t end) {
          for (zoq::index_t i = begin; i < end; ++i) {
            ++times[static_cast<std::size_t>(i)];
          }
        });
        CHECK(std::count(times.begin(), times.end(), 1) == n);
      }
    }
  }
  CHECK(zoq::detail::workers(0).count() >= 1);
}
