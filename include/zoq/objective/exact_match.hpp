// exact_match: 0 where greedy decoding gives the completion, else 1.
//
//     loss = 1 - prod_i [argmax_v p(v | prompt, token_<i) = token_i]
//
// The likeliest tokens are read at all positions in one pass, each after the reference before it. While they
// agree, greedy decoding has the same text before it; so the product is that of decoding, without decoding.
// It says nothing of where the text would end. Not differentiable: see accuracy.
// Rajpurkar et al., "SQuAD", arXiv 1606.05250.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/objective.hpp"

namespace zoq {

struct exact_match {
  static constexpr std::string_view name = "exact_match";
  static constexpr std::string_view summary =
      "share of rows whose completion greedy decoding does not give";
  static constexpr std::string_view paper = "arXiv 1606.05250";
  static constexpr std::string_view cost = "a forward of prompt and completion";
  static constexpr bool reads_best = true;  // see best_reading_objective
  static constexpr bool serves(row_kind kind) { return kind == row_kind::completion; }

  /// Throws unless the row has exactly one continuation.
  static void pack(const example& row, packing& batch);

  /// best: the likeliest token at every position of the continuation.
  [[nodiscard]] static double loss(const example& row, std::span<const double> scores,
                                   std::span<const token_t> best);
  /// The only continuation, or -1 when decoding gives another text.
  [[nodiscard]] static index_t choice(const example& row, std::span<const double>,
                                      std::span<const token_t> best);
};
static_assert(choosing_objective<exact_match>);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>

namespace zoq {

ZOQ_BODY void exact_match::pack(const example& row, packing& batch) { pack_completion(row, batch); }

ZOQ_BODY double exact_match::loss(const example& row, std::span<const double> scores,
                                  std::span<const token_t> best) {
  return choice(row, scores, best) == row.answer ? 0.0 : 1.0;
}

ZOQ_BODY index_t exact_match::choice(const example& row, std::span<const double>,
                                     std::span<const token_t> best) {
  const auto& wanted = row.continuations[0];
  return std::equal(best.begin(), best.end(), wanted.begin(), wanted.end()) ? 0 : -1;
}

}  // namespace zoq

#endif
