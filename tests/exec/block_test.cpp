// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/block.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "exec/block_executor.hpp"
#include "zoq/exec/cpu.hpp"

using zoq::index_t;

namespace {

// Turns every run of 8 numbers round, twice through shared memory, and adds what a thread has kept.
struct turn_round {
  static constexpr int threads = 8;
  struct shared {
    int line[8];
  };
  struct mine {
    int kept = 5;
    int seen[2];
  };
  const int* from;
  int* to;

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    const index_t first = block.index() * threads;
    auto own = block.template local<mine>();
    block.each([&](int t) {
      own[t].kept += t;
      block.shared().line[t] = from[first + t];
    });
    block.each([&](int t) { own[t].seen[0] += block.shared().line[threads - 1 - t]; });
    block.each([&](int t) { to[first + t] = own[t].seen[0] * 100 + own[t].kept; });
  }
};

}  // namespace

TEST_CASE("block: bodies meet, threads keep what is theirs, blocks run in any order") {
  std::vector<int> from(32), to(32), wanted(32);
  for (int i = 0; i < 32; ++i) {
    from[static_cast<std::size_t>(i)] = 3 * i;
    wanted[static_cast<std::size_t>(i)] = 100 * 3 * (i / 8 * 8 + 7 - i % 8) + 5 + i % 8;
  }
  zoq::test::block_executor{}.run_blocks(4, turn_round{from.data(), to.data()});
  CHECK(to == wanted);
  to.assign(32, 0);
  zoq::cpu{{.threads = 3}}.for_each(4, zoq::host_blocks<turn_round>{{from.data(), to.data()}});
  CHECK(to == wanted);
}
