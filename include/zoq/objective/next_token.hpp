// next_token: the mean negative log-likelihood of a row's continuation, given its prompt.
//
//     loss = -(1/n) sum_i log p(token_i | prompt, token_<i)
//
// Serves completions ("prompt", "completion") and plain text, whose prompt is its first token.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/objective.hpp"

namespace zoq {

struct next_token {
  static constexpr std::string_view name = "next_token";
  static constexpr std::string_view summary =
      "mean negative log-likelihood of a completion, or of running text";
  static constexpr std::string_view paper = "";
  static constexpr std::string_view cost = "a forward of prompt and completion";
  static constexpr bool serves(row_kind kind) {
    return kind == row_kind::completion || kind == row_kind::text;
  }

  /// Throws unless the row has exactly one continuation.
  static void pack(const example& row, packing& batch);

  /// scores: the log-likelihoods of the continuation's tokens.
  [[nodiscard]] static double loss(const example&, std::span<const double> scores);

  /// weights[i] = d loss / d scores[i] = -1/n.
  static void read_weights(const example&, std::span<const double> scores,
                           std::span<double> weights);
};
static_assert(weighing_objective<next_token>);

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY void next_token::pack(const example& row, packing& batch) { pack_completion(row, batch); }

ZOQ_BODY double next_token::loss(const example&, std::span<const double> scores) {
  double sum = 0;
  for (const double s : scores) {
    sum += s;
  }
  return -sum / static_cast<double>(scores.size());
}

ZOQ_BODY void next_token::read_weights(const example&, std::span<const double> scores,
                                       std::span<double> weights) {
  for (double& w : weights) {
    w = -1 / static_cast<double>(scores.size());
  }
}

}  // namespace zoq

#endif
