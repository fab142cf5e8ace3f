// SPDX-License-Identifier: Apache-2.0
#include "zoq/data/windows.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::choose_windows;
using zoq::index_t;
using zoq::token_t;
using zoq::test::message_of;

TEST_CASE("windows: all of them, in order, when they are few") {
  CHECK(choose_windows(40, {.samples = 9, .length = 10}) == std::vector<index_t>{0, 10, 20, 30});
  CHECK(choose_windows(49, {.samples = 4, .length = 10}) == std::vector<index_t>{0, 10, 20, 30});
  CHECK(choose_windows(10, {.samples = 1, .length = 10}) == std::vector<index_t>{0});
}

TEST_CASE("windows: else a seeded choice, ascending, without overlap, inside the text") {
  std::set<std::vector<index_t>> seen;
  std::set<index_t> starts;
  for (zoq::seed_t seed = 0; seed < 100; ++seed) {
    const zoq::window_options options{.samples = 5, .length = 16, .seed = seed};
    const std::vector<index_t> at = choose_windows(1000, options);
    CHECK(choose_windows(1000, options) == at);
    CHECK(at.size() == 5);
    bool good = true;
    for (std::size_t i = 0; i < at.size(); ++i) {
      good = good && at[i] % 16 == 0 && at[i] >= 0 && at[i] + 16 <= 1000;
      good = good && (i == 0 || at[i] >= at[i - 1] + 16);
    }
    CHECK(good);
    seen.insert(at);
    starts.insert(at.begin(), at.end());
  }
  CHECK(seen.size() > 90);     // of 7 million choices
  CHECK(starts.size() == 62);  // every window is taken by one of 100 seeds
}

TEST_CASE("windows: their tokens") {
  std::vector<token_t> tokens(40);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<token_t>(i);
  }
  const std::vector<index_t> at = {0, 30};
  const auto windows = zoq::windows_at(tokens, at, 10);
  REQUIRE(windows.size() == 2);
  CHECK(windows[0].size() == 10);
  CHECK(windows[0].front() == 0);
  CHECK(windows[1].front() == 30);
  CHECK(windows[1].back() == 39);
}

TEST_CASE("windows: what cannot be is refused") {
  CHECK(message_of([] { choose_windows(9, {.length = 10}); }) ==
        "windows: the text has 9 tokens, one window needs 10");
  CHECK(message_of([] { choose_windows(9, {.samples = 0}); }) ==
        "windows: 0 samples, wanted at least 1");
  CHECK(message_of([] { choose_windows(9, {.length = 1}); }) ==
        "windows: length 1, wanted at least 2 tokens");
}
