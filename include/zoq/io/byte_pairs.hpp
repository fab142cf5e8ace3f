// Byte-pair merges: the tokens that one word becomes. For io/tokenizer.hpp, which reads them from a file.
//
//     zoq::byte_pairs pairs(3);                      // tokens
//     pairs.set_byte('a', 0);
//     pairs.set_byte('b', 1);
//     pairs.add_merge(0, 1, 0, 2);                   // the first in the list: "a" and "b" make "ab"
//     zoq::byte_pairs::workspace work;
//     pairs.encode("abab", work, ids);               // 2, 2
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/keyed_hash.hpp"

namespace zoq {

class byte_pairs {
  // The symbols of a word, as a list linked in both directions.
  struct symbol {
    token_t id;  // -1 once it is joined to its left neighbour
    index_t before, after;
  };
  struct candidate {
    std::uint32_t rank;
    token_t result, left_id, right_id;
    index_t left, right;
    // The top of a std::priority_queue is its largest: the lowest rank, and of these the leftmost.
    friend bool operator<(const candidate& a, const candidate& b) {
      return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
    }
  };

 public:
  /// Memory that goes from word to word.
  class workspace {
    friend byte_pairs;
    std::vector<symbol> symbols;
    std::priority_queue<candidate> queue;
  };

  /// Symbols from `vocabulary` on take part in merges and are no tokens.
  explicit byte_pairs(index_t vocabulary) : vocabulary_(vocabulary) {}

  /// The symbol that a byte is before all merges.
  void set_byte(unsigned char byte, token_t id) { byte_symbols_[byte] = id; }
  /// The same.
  [[nodiscard]] token_t symbol_of(char byte) const {
    return byte_symbols_[static_cast<unsigned char>(byte)];
  }

  /// Memory for as many merges.
  void reserve(std::size_t merges) { merges_.reserve(merges); }
  /// Neighbours `left` and `right` make `result`; of all pairs in a word the lowest rank goes first. Of a
  /// pair that comes twice the first counts.
  void add_merge(token_t left, token_t right, std::uint32_t rank, token_t result) {
    merges_.emplace(key_of(left, right), merge{rank, result});
  }
  /// A word that is this token whatever the merges would make of it.
  void add_whole_word(std::string bytes, token_t id) { whole_words_.emplace(std::move(bytes), id); }

  /// Appends the tokens of a word; symbols that are none are left out. Cost: n log n.
  void encode(std::string_view word, workspace& work, std::vector<token_t>& out) const {
    if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
      out.push_back(whole->second);
      return;
    }
    std::vector<symbol>& symbols = work.symbols;
    symbols.clear();
    const auto count = static_cast<index_t>(word.size());
    for (index_t i = 0; i < count; ++i) {
      symbols.push_back(
          {symbol_of(word[static_cast<std::size_t>(i)]), i - 1, i + 1 < count ? i + 1 : -1});
    }
    for (index_t i = 0; i + 1 < count; ++i) {
      propose(work, i, i + 1);
    }
    const auto at = [&](index_t i) -> symbol& { return symbols[static_cast<std::size_t>(i)]; };
    while (!work.queue.empty()) {
      const candidate c = work.queue.top();
      work.queue.pop();
      if (at(c.left).id != c.left_id || at(c.right).id != c.right_id) {
        continue;  // a part was joined to something else since
      }
      at(c.left).id = c.result;
      at(c.right).id = -1;
      at(c.left).after = at(c.right).after;
      if (at(c.left).after >= 0) {
        at(at(c.left).after).before = c.left;
        propose(work, c.left, at(c.left).after);
      }
      if (at(c.left).before >= 0) {
        propose(work, at(c.left).before, c.left);
      }
    }
    for (index_t i = count > 0 ? 0 : -1; i >= 0; i = at(i).after) {
      if (at(i).id < vocabulary_) {
        out.push_back(at(i).id);
      }
    }
  }

 private:
  struct merge {
    std::uint32_t rank;  // place in the list: the lowest goes first
    token_t result;
  };

  static std::uint64_t key_of(token_t left, token_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  void propose(workspace& work, index_t left, index_t right) const {
    const token_t left_id = work.symbols[static_cast<std::size_t>(left)].id;
    const token_t right_id = work.symbols[static_cast<std::size_t>(right)].id;
    const auto found = merges_.find(key_of(left_id, right_id));
    if (found != merges_.end()) {
      work.queue.push({found->second.rank, found->second.result, left_id, right_id, left, right});
    }
  }

  index_t vocabulary_;
  std::array<token_t, 256> byte_symbols_{};  // ids from size() on: bytes without a token
  std::unordered_map<std::uint64_t, merge, keyed_hash> merges_;
  std::unordered_map<std::string, token_t, keyed_hash, std::equal_to<>> whole_words_;
};

}  // namespace zoq
