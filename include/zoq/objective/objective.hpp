// concept objective: what is read from the model for a row of data, and the loss made of it.
//
//     objective.pack(row, batch);                     // segments, and reads in a fixed order
//     double l = objective.loss(row, scores);         // scores: log-likelihoods of those reads
//     double l = objective.loss(row, scores, best);   // reads_best: and the likeliest tokens there
//
// Nothing in an objective depends on the parameters but through these; whatever does (a filter, a
// dropout) must be the same for all branches of one estimate. What depends on the untuned model is
// kept in the row's `reference`, by `reference(row, scores)`, before a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/data/example.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

/// An objective that looks at the likeliest token of every read, beside the likelihood of its target.
template <class O>
concept best_reading_objective = O::reads_best &&
    requires(const O& o, const example& row, std::span<const double> scores,
             std::span<const token_t> best) {
  { o.loss(row, scores, best) } -> std::same_as<double>;
};

namespace detail {

template <class O>
concept packs_rows = requires(const O& o, const example& row, packing& batch) {
  { O::name } -> std::convertible_to<std::string_view>;
  { o.pack(row, batch) } -> std::same_as<void>;
};
template <class O>
concept loses_by_scores = requires(const O& o, const example& row, std::span<const double> scores) {
  { o.loss(row, scores) } -> std::same_as<double>;
};
template <class O>
concept chooses_by_scores = requires(const O& o, const example& row,
                                     std::span<const double> scores) {
  { o.choice(row, scores) } -> std::same_as<index_t>;
};
template <class O>
concept chooses_by_best = requires(const O& o, const example& row, std::span<const double> scores,
                                   std::span<const token_t> best) {
  { o.choice(row, scores, best) } -> std::same_as<index_t>;
};

}  // namespace detail

template <class O>
concept objective = std::copyable<O> && detail::packs_rows<O> &&
    (detail::loses_by_scores<O> || best_reading_objective<O>);

/// An objective that also decides: accuracy is the share of rows where it picks the answer. One that
/// looks at the likeliest tokens is given them as in `loss`.
template <class O>
concept choosing_objective = objective<O> &&
    (detail::chooses_by_scores<O> || detail::chooses_by_best<O>);

/// An objective that compares with the untuned model: from that model's scores of a row it makes what the
/// row keeps as its reference.
template <class O>
concept referring_objective = objective<O> &&
    requires(const O& o, const example& row, std::span<const double> scores) {
  { o.reference(row, scores) } -> std::same_as<std::vector<double>>;
};

/// The loss of a row, whether the objective looks at the likeliest tokens or not. scores, best: of the
/// row's reads; best may be empty when it does not.
template <objective O>
double loss_of(const O& o, const example& row, std::span<const double> scores,
               std::span<const token_t> best) {
  if constexpr (best_reading_objective<O>) {
    return o.loss(row, scores, best);
  } else {
    return o.loss(row, scores);
  }
}

/// The choice for a row, likewise.
template <choosing_objective O>
index_t choice_of(const O& o, const example& row, std::span<const double> scores,
                  std::span<const token_t> best) {
  if constexpr (detail::chooses_by_best<O>) {
    return o.choice(row, scores, best);
  } else {
    return o.choice(row, scores);
  }
}

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
void pack_continuation(std::span<const token_t> continuation, index_t prompt, packing& batch);

/// Packs a row's prompt and its only continuation. Throws unless there is exactly one.
void pack_completion(const example& row, packing& batch);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void pack_continuation(std::span<const token_t> continuation, index_t prompt,
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

ZOQ_BODY void pack_completion(const example& row, packing& batch) {
  require(row.continuations.size() == 1, "a row has ", row.continuations.size(),
          " continuations, wanted 1");
  pack_continuation(row.continuations[0], batch.add(row.prompt), batch);
}

}  // namespace zoq

#endif
