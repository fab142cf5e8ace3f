// One row of data as token ids: a prompt, and one or more texts that may follow it.
//
//     {"prompt": ..., "choices": [...], "answer": 1}   prompt, continuations = choices, answer
//     {"prompt": ..., "completion": ...}               prompt, one continuation
//     {"text": ...}                                    the first token, one continuation: the rest
//     {"prompt": ..., "chosen": ..., "rejected": ...}  prompt, continuations = chosen, rejected
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

struct example {
  std::vector<token_t> prompt;                      // token ids
  std::vector<std::vector<token_t>> continuations;  // one or more, as token ids
  index_t answer = 0;                               // the right continuation
  // What an objective keeps of the untuned model's answer to this row: the same in all branches and
  // steps. Made once before a run by `set_references`; empty where no objective asks for it.
  std::vector<double> reference{};
};

/// Tokens that a row takes of the model's context: its prompt and its longest continuation, whose last
/// token is only predicted.
index_t context_of(const example& row);

/// The share of the most frequent answer: what a constant guess reaches. 0 for no rows.
double majority_share(std::span<const example> rows);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>

namespace zoq {

ZOQ_BODY index_t context_of(const example& row) {
  std::size_t longest = 0;
  for (const auto& c : row.continuations) {
    longest = std::max(longest, c.size());
  }
  return static_cast<index_t>(row.prompt.size() + longest) - 1;
}

ZOQ_BODY double majority_share(std::span<const example> rows) {
  std::vector<index_t> counts;
  index_t most = 0;
  for (const example& e : rows) {
    const auto answer = static_cast<std::size_t>(e.answer);
    counts.resize(counts.size() > answer ? counts.size() : answer + 1);
    most = ++counts[answer] > most ? counts[answer] : most;
  }
  return rows.empty() ? 0.0 : static_cast<double>(most) / static_cast<double>(rows.size());
}

}  // namespace zoq

#endif
