// A packed batch: tokens of many sequences in one run of rows without padding, and the places where
// an answer is read. Made by objectives, consumed by a model's forward pass.
//
//     packing batch;
//     index_t prompt = batch.add(tokens);                 // a segment
//     index_t option = batch.add(more_tokens, prompt);    // goes on after it, and sees it
//     batch.read(prompt, tokens.size() - 1, target);      // log p(target | prompt) is wanted
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/tensor/segment.hpp"

namespace zoq {

/// The log-likelihood of `target` as the token after `row` is wanted.
struct token_read {
  index_t row = 0;     // of the packing
  token_t target = 0;  // its id
};

struct packing {
  std::vector<token_t> tokens;    // [T]
  std::vector<segment> segments;  // [S]
  std::vector<token_read> reads;  // in the order in which scores are returned

  [[nodiscard]] index_t rows() const { return static_cast<index_t>(tokens.size()); }  // T
  [[nodiscard]] bool empty() const { return tokens.empty(); }                         // no rows

  /// How much a packing holds.
  struct sizes {
    std::size_t tokens = 0,  // T
        segments = 0,        // S
        reads = 0;           // answers
  };
  /// How much there is now.
  [[nodiscard]] sizes size() const { return {tokens.size(), segments.size(), reads.size()}; }

  /// Takes back everything that was added after `size()` gave `to`.
  void cut(const sizes& to) {
    tokens.resize(to.tokens);
    segments.resize(to.segments);
    reads.resize(to.reads);
  }
  void clear() { cut({}); }  // and keeps the memory

  /// Appends a segment and returns its number. Throws when it is empty or the parent is unknown.
  index_t add(std::span<const token_t> text, index_t parent = -1) {
    const auto number = static_cast<index_t>(segments.size());
    require(!text.empty(), "packing: segment ", number, " is empty");
    require(parent >= -1 && parent < number, "packing: segment ", number, " has parent ", parent);
    segment s{rows(), static_cast<index_t>(text.size()), parent, 0};
    if (parent >= 0) {
      const segment& above = segments[static_cast<std::size_t>(parent)];
      s.position = above.position + above.count;
    }
    segments.push_back(s);
    tokens.insert(tokens.end(), text.begin(), text.end());
    return number;
  }

  /// Asks for the likelihood of `target` after token `offset` of segment `number`.
  void read(index_t number, index_t offset, token_t target) {
    require(number >= 0 && number < static_cast<index_t>(segments.size()), "packing: no segment ",
            number);
    const segment& s = segments[static_cast<std::size_t>(number)];
    require(offset >= 0 && offset < s.count, "packing: offset ", offset, " in a segment of ",
            s.count);
    reads.push_back({s.first + offset, target});
  }

  /// The largest number of positions that a sequence of this batch takes.
  [[nodiscard]] index_t positions() const {
    index_t most = 0;
    for (const segment& s : segments) {
      most = std::max(most, s.position + s.count);
    }
    return most;
  }
};

/// The same batch with `rows` rows (of token 0) before every sequence: one segment that all others go on
/// after, so that positions begin behind it. What reads name moves by as many rows.
[[nodiscard]] inline packing with_leading_rows(const packing& batch, index_t rows) {
  packing out;
  out.add(std::vector<token_t>(static_cast<std::size_t>(rows)));
  out.tokens.insert(out.tokens.end(), batch.tokens.begin(), batch.tokens.end());
  for (segment s : batch.segments) {
    s.first += rows;
    s.position += rows;
    s.parent += 1;  // a root's parent is now the first segment
    out.segments.push_back(s);
  }
  for (token_read r : batch.reads) {
    r.row += rows;
    out.reads.push_back(r);
  }
  return out;
}

}  // namespace zoq
