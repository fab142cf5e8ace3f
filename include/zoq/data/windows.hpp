// Windows of plain text for scoring: runs of `length` tokens, one after another without overlap.
//
//     auto at = zoq::choose_windows(tokens.size(), {.samples = 48, .length = 128, .seed = 0});
//     auto texts = zoq::windows_at(tokens, at, 128);
//
// When the text has more windows than `samples`, a seeded choice of them is taken, in text order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// Which windows are taken.
struct window_options {
  index_t samples = 48;  // windows, at most
  index_t length = 128;  // tokens
  seed_t seed = 0;       // of the choice
};

/// First tokens of the chosen windows, ascending. Fewer than `samples` when the text is short.
/// Throws when not even one window fits, naming what was found and wanted.
std::vector<index_t> choose_windows(index_t tokens, const window_options& options);

/// The windows' tokens.
std::vector<std::vector<token_t>> windows_at(std::span<const token_t> tokens,
                                             std::span<const index_t> first, index_t length);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>

#include "zoq/core/error.hpp"
#include "zoq/random/permutation.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY std::vector<index_t> choose_windows(index_t tokens, const window_options& options) {
  require(options.samples > 0, "windows: ", options.samples, " samples, wanted at least 1");
  require(options.length > 1, "windows: length ", options.length, ", wanted at least 2 tokens");
  const index_t whole = tokens / options.length;
  require(whole > 0, "windows: the text has ", tokens, " tokens, one window needs ",
          options.length);
  std::vector<index_t> order = permutation(whole, derive_seed(options.seed, purpose::windows, 0));
  order.resize(static_cast<std::size_t>(std::min(whole, options.samples)));
  std::sort(order.begin(), order.end());
  for (index_t& w : order) {
    w *= options.length;
  }
  return order;
}

ZOQ_BODY std::vector<std::vector<token_t>> windows_at(std::span<const token_t> tokens,
                                                      std::span<const index_t> first,
                                                      index_t length) {
  std::vector<std::vector<token_t>> out;
  for (const index_t f : first) {
    const auto window =
        tokens.subspan(static_cast<std::size_t>(f), static_cast<std::size_t>(length));
    out.emplace_back(window.begin(), window.end());
  }
  return out;
}

}  // namespace zoq

#endif
