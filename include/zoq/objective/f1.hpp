// f1: how many tokens the completion and the model's guesses at it share, whatever their order.
//
//     c = sum_v min(count of v in the completion, count of v among the guesses);   loss = 1 - F1 = 1 - c / n
//
// The guess at a position is the likeliest token after the prompt and the completion's own tokens before
// that position: it is teacher-forced, not decoded. So there are as many guesses as tokens, n, and precision,
// recall and F1 are the same number, which is at least the share of positions that are guessed right. It is not
// the F1 of decoded text, and higher than that where one wrong token would lead decoding astray.
// Not differentiable: see accuracy. The measure: Rajpurkar et al., "SQuAD", arXiv 1606.05250, there of words.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/objective.hpp"

namespace zoq {

struct f1 {
  static constexpr std::string_view name = "f1";
  static constexpr std::string_view summary =
      "1 - F1 of the completion's tokens and the likeliest ones at their places";
  static constexpr std::string_view paper = "arXiv 1606.05250";
  static constexpr std::string_view cost = "a forward of prompt and completion";
  static constexpr bool reads_best = true;  // see best_reading_objective
  static constexpr bool serves(row_kind kind) { return kind == row_kind::completion; }

  /// Throws unless the row has exactly one continuation.
  static void pack(const example& row, packing& batch);

  /// best: the likeliest token at every position of the continuation.
  [[nodiscard]] static double loss(const example& row, std::span<const double>,
                                   std::span<const token_t> best);
};
static_assert(objective<f1>);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <iterator>
#include <vector>

namespace zoq {

ZOQ_BODY void f1::pack(const example& row, packing& batch) { pack_completion(row, batch); }

ZOQ_BODY double f1::loss(const example& row, std::span<const double>,
                         std::span<const token_t> best) {
  std::vector<token_t> wanted = row.continuations[0], guessed(best.begin(), best.end()), shared;
  std::sort(wanted.begin(), wanted.end());
  std::sort(guessed.begin(), guessed.end());
  std::set_intersection(wanted.begin(), wanted.end(), guessed.begin(), guessed.end(),
                        std::back_inserter(shared));
  return 1 - static_cast<double>(shared.size()) / static_cast<double>(wanted.size());
}

}  // namespace zoq

#endif
