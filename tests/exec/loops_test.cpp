// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/loops.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using zoq::index_t;

namespace {

constexpr auto forward = [](index_t chunks, const auto& body) {
  for (index_t c = 0; c < chunks; ++c) {
    body(c);
  }
};
constexpr auto backward = [](index_t chunks, const auto& body) {
  for (index_t c = chunks; c-- > 0;) {
    body(c);
  }
};

}  // namespace

TEST_CASE("sum_in_chunks: 1024 terms in order, then the chunks in order, whoever runs first") {
  // Terms with all the bits of a double: any other order shows in the sum's last bits.
  const auto term = [](index_t i) { return 1.0 / static_cast<double>(i + 1); };
  for (const index_t n : {0, 1, 1023, 1024, 1025, 2048, 5000}) {
    double wanted = 0;
    for (index_t first = 0; first < n; first += 1024) {
      double chunk = 0;
      for (index_t i = first; i < std::min(n, first + 1024); ++i) {
        chunk += term(i);
      }
      wanted += chunk;
    }
    CHECK(zoq::detail::sum_in_chunks(n, term, forward) == wanted);
    CHECK(zoq::detail::sum_in_chunks(n, term, backward) == wanted);
  }
}

TEST_CASE("host_memory: zeroed memory, and copies there and back") {
  const zoq::detail::host_memory memory;
  const auto there = memory.allocate<float>(5);
  CHECK(there.data()[4] == 0);
  const float here[3] = {1, 2, 3};
  float back[3] = {};
  memory.upload(here, 3, there.data() + 1);
  CHECK(there.data()[0] == 0);
  CHECK(there.data()[3] == 3);
  memory.download(there.data() + 1, 2, back);
  CHECK(back[1] == 2);
  CHECK(back[2] == 0);
}
