// concept objective: what is read from the model for a row of data, and the loss made of it.
//
//     objective.pack(row, batch);                  // segments, and reads in a fixed order
//     double l = objective.loss(row, scores);      // scores: log-likelihoods of those reads
//
// Nothing in an objective depends on the parameters but through the scores; whatever does (a
// filter, a dropout) must be the same for all branches of one estimate.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/data/example.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

template <class O>
concept objective = std::copyable<O> &&
    requires(const O& o, const example& row, packing& batch, std::span<const double> scores) {
  { O::name } -> std::convertible_to<std::string_view>;
  { o.pack(row, batch) } -> std::same_as<void>;
  { o.loss(row, scores) } -> std::same_as<double>;
};

/// An objective that also decides: accuracy is the share of rows where it picks the answer.
template <class O>
concept choosing_objective = objective<O> &&
    requires(const O& o, const example& row, std::span<const double> scores) {
  { o.choice(row, scores) } -> std::same_as<index_t>;
};

/// An objective whose loss has derivatives towards its scores: scores of weights by a reverse pass
/// need them, tuning does not. weights[i] <- d loss / d scores[i].
template <class O>
concept weighing_objective = objective<O> &&
    requires(const O& o, const example& row, std::span<const double> scores,
             std::span<double> weights) {
  { o.read_weights(row, scores, weights) } -> std::same_as<void>;
};

/// Packs `prompt` and one continuation that goes on after it, and reads every token of it. The
/// continuation's last token is only predicted, so it takes no row. Throws when either is empty.
inline void pack_continuation(std::span<const token_t> continuation, index_t prompt,
                              packing& batch) {
  require(!continuation.empty(), "a continuation is empty");
  const index_t above = batch.segments[static_cast<std::size_t>(prompt)].count;
  batch.read(prompt, above - 1, continuation[0]);
  if (continuation.size() > 1) {
    const index_t segment = batch.add(continuation.first(continuation.size() - 1), prompt);
    for (std::size_t i = 1; i < continuation.size(); ++i) {
      batch.read(segment, static_cast<index_t>(i) - 1, continuation[i]);
    }
  }
}

}  // namespace zoq
