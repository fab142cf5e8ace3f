// The forward pass of a model over a packed batch, for several branches at once: from tokens to the
// answers that are wanted. Of any family in `any_family`.
//
//     zoq::decoder_forward pass(exec, model);
//     pass.score(batch, branches, scores);         // log p of every read, [branches, reads]
//     pass.score(batch, branches, scores, best);   // and the most likely token there
//     pass.logits(batch, {}, logits);              // all logits of every row that is read
//     pass.extend(tokens, {}, logits);             // goes on with a sequence, token by token
//
// The layers are in model/decoder_stream.hpp. The head runs only for rows where an answer is read, a
// few rows at a time, so the logits of all never stand in memory.
//
// A soft prompt stands before every sequence as one segment that all others go on after: its rows
// take positions 0 to P - 1, and are computed once for the batch. A prefix stands there in the same
// way; in every layer its keys, before they are turned by these positions, and its values replace
// those of its rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/model/decoder.hpp"
#include "zoq/model/decoder_stream.hpp"
#include "zoq/model/head_runs.hpp"
#include "zoq/model/resident.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

template <executor X>
class decoder_forward {
 public:
  /// Keeps references: executor and model must outlive the pass.
  decoder_forward(const X& exec, const decoder& model);
  /// The same with weights that other passes use too.
  decoder_forward(const X& exec, const decoder& model, resident_weights<X> weights);

  /// scores: [branches.count, batch.reads], row-major: the log-likelihood of every read in every
  /// branch. Throws on tokens outside the vocabulary and sequences beyond the context, with the rows
  /// of a soft prompt or a prefix.
  void score(const packing& batch, const branch_parts& branches, std::span<double> scores);

  /// The same, and best: [branches.count, batch.reads], the token of the largest logit at every read,
  /// of equal ones the first.
  void score(const packing& batch, const branch_parts& branches, std::span<double> scores,
             std::span<token_t> best);

  /// out: [branches * Q, V], the logits of every row that is read, in the order of the rows.
  void logits(const packing& batch, const branch_parts& branches, std::vector<float>& out);

  /// Begins a sequence of at most `rows` tokens for `extend`, behind `leading` rows of a soft prompt or
  /// a prefix: room for the keys and values of all layers, 2 * K * D floats a row and layer. Throws
  /// when the model's context is shorter.
  void start_sequence(index_t rows, index_t leading = 0);

  /// The logits [V] after `tokens`, which follow those of earlier calls since start_sequence. Only
  /// they are computed. One branch. Throws when they do not fit the sequence.
  void extend(std::span<const token_t> tokens, const branch_parts& branches,
              std::vector<float>& logits);

  /// Bytes of activations and gains that this pass holds; those of weights() are not among them.
  [[nodiscard]] index_t byte_count() const;

  /// The model's weights in the executor's memory, which other passes may share.
  [[nodiscard]] const resident_weights<X>& weights() const { return stream_.weights(); }

 private:
  using memory = typename decoder_stream<X>::memory;
  using kept = typename decoder_stream<X>::keys_and_values;

  // The batch with the leading rows that the branches have.
  const packing& with_leading(const packing& batch, const branch_parts& branches);

  void start(const packing& batch, const branch_parts& branches, std::span<const kept> seen = {},
             index_t first = 0);

  void answer(const packing& given, const branch_parts& branches, std::span<double> scores,
              std::span<token_t> best);

  // From the best token of every row, in the order of the runs, to that of every read.
  void take_best(std::span<const head_run> runs, const read_order& order,
                 std::span<token_t> best) const;

  [[nodiscard]] index_t queries() const { return stream_.batch().read_row_count(); }

  [[nodiscard]] std::vector<head_run> runs_of(const branch_parts& branches) const;

  // Calls f(head_run, logits [n, V]) for every run.
  template <class F>
  void for_each_head_run(const branch_parts& branches, std::span<const head_run> runs, const F& f);

  const X& exec_;
  const decoder& model_;
  decoder_stream<X> stream_;
  typename decoder_stream<X>::matrix h_;                // of the last run: [branches * Q, C]
  packing with_leading_;                                // of the last run that had leading rows
  std::vector<kept> kept_;                              // of every layer, for `extend`
  std::vector<token_t> sequence_;                       // what `extend` has seen
  index_t room_ = 0, leading_ = 0;                      // of the sequence: tokens, rows before them
  memory logits_;                                       // [most_head_rows, V]
  buffer<double, typename X::space> normaliser_;        // [most_head_rows]
  buffer<likelihood_place, typename X::space> places_;  // [branches * reads] by runs
  buffer<double, typename X::space> likelihoods_;       // [branches * reads]
  buffer<token_t, typename X::space> best_;             // [branches * Q] by runs
};

/// The forward pass of this model: what a trainer calls, found by the model's type.
template <executor X>
decoder_forward<X> forward_of(const X& exec, const decoder& model) {
  return decoder_forward<X>(exec, model);
}

template <executor X>
decoder_forward<X>::decoder_forward(const X& exec, const decoder& model)
    : decoder_forward(exec, model, resident_weights<X>(exec, model.tensors())) {}

template <executor X>
decoder_forward<X>::decoder_forward(const X& exec, const decoder& model,
                                    resident_weights<X> weights)
    : exec_(exec), model_(model), stream_(exec, model, std::move(weights)) {}

template <executor X>
void decoder_forward<X>::score(const packing& batch, const branch_parts& branches,
                               std::span<double> scores) {
  answer(batch, branches, scores, {});
}

template <executor X>
void decoder_forward<X>::score(const packing& batch, const branch_parts& branches,
                               std::span<double> scores, std::span<token_t> best) {
  require(best.size() == scores.size(), "forward: ", best.size(), " places for the best tokens of ",
          scores.size(), " reads");
  answer(batch, branches, scores, best);
}

template <executor X>
void decoder_forward<X>::logits(const packing& batch, const branch_parts& branches,
                                std::vector<float>& out) {
  start(with_leading(batch, branches), branches);
  const index_t columns = model_.config().vocabulary;
  out.resize(static_cast<std::size_t>(branches.count * queries() * columns));
  for_each_head_run(
      branches, runs_of(branches), [&](const head_run& run, tensor_view<const float, 2> logits) {
        for (index_t i = 0; i < logits.shape[0]; ++i) {
          exec_.download(logits.row(i).data, columns, out.data() + run.row(i) * columns);
        }
      });
}

template <executor X>
void decoder_forward<X>::start_sequence(index_t rows, index_t leading) {
  const decoder_config& c = model_.config();
  require(rows > 0 && leading >= 0 && leading + rows <= c.context, "forward: a sequence of ",
          leading + rows, " tokens, the model's context is ", c.context);
  sequence_.clear();
  kept_.clear();
  room_ = rows;
  leading_ = leading;
  for (index_t l = 0; l < c.layers; ++l) {
    const index_t floats = (leading + rows) * c.at(l).kv_heads * c.head_size;
    kept_.push_back(
        {exec_.template allocate<float>(floats), exec_.template allocate<float>(floats)});
  }
}

template <executor X>
void decoder_forward<X>::extend(std::span<const token_t> tokens, const branch_parts& branches,
                                std::vector<float>& logits) {
  require(branches.count == 1, "forward: a sequence has one branch, found ", branches.count);
  const auto before = static_cast<index_t>(sequence_.size());
  const index_t rows = before + static_cast<index_t>(tokens.size());
  require(!tokens.empty(), "forward: no tokens to go on with");
  require(!kept_.empty() && rows <= room_, "forward: ", rows,
          " tokens are more than the sequence has room for");
  require(branches.leading_rows() == leading_, "forward: the sequence began behind ", leading_,
          " rows of a prompt or prefix, found ", branches.leading_rows());
  std::vector<token_t> all = sequence_;
  all.insert(all.end(), tokens.begin(), tokens.end());
  packing batch;
  batch.add(all);
  batch.read(0, rows - 1, 0);
  start(with_leading(batch, branches), branches, kept_, before == 0 ? 0 : leading_ + before);
  sequence_ = std::move(all);  // only now: after an error the sequence is as it was
  logits.resize(static_cast<std::size_t>(model_.config().vocabulary));
  for_each_head_run(branches, runs_of(branches),
                    [&](const head_run&, tensor_view<const float, 2> row) {
                      exec_.download(row.data, row.size(), logits.data());
                    });
}

template <executor X>
index_t decoder_forward<X>::byte_count() const {
  index_t bytes = stream_.byte_count() + logits_.byte_count() + normaliser_.byte_count() +
                  places_.byte_count() + likelihoods_.byte_count() + best_.byte_count();
  for (const auto& layer : kept_) {
    bytes += layer.k.byte_count() + layer.v.byte_count();
  }
  return bytes;
}

template <executor X>
const packing& decoder_forward<X>::with_leading(const packing& batch,
                                                const branch_parts& branches) {
  const index_t rows = branches.leading_rows();
  if (rows == 0) {
    return batch;
  }
  const decoder_config& c = model_.config();
  require(!branches.prompt || branches.prefix.empty(),
          "forward: a soft prompt and a prefix at the same time");
  require(branches.prefix.empty() || static_cast<index_t>(branches.prefix.size()) == c.layers,
          "forward: a prefix of ", branches.prefix.size(), " layers, the model has ", c.layers);
  for (const prefix_part& layer : branches.prefix) {
    require(layer.rows == rows, "forward: a prefix of ", rows, " and of ", layer.rows, " rows");
  }
  with_leading_ = with_leading_rows(batch, rows);
  return with_leading_;
}

template <executor X>
void decoder_forward<X>::start(const packing& batch, const branch_parts& branches,
                               std::span<const kept> seen, index_t first) {
  h_ = stream_.run(batch, branches, seen, first);
}

template <executor X>
void decoder_forward<X>::answer(const packing& given, const branch_parts& branches,
                                std::span<double> scores, std::span<token_t> best) {
  const auto reads = static_cast<index_t>(given.reads.size());
  require(static_cast<index_t>(scores.size()) == branches.count * reads, "forward: ", scores.size(),
          " places for ", reads, " scores of ", branches.count, " branches");
  for (const token_read& r : given.reads) {
    require(r.target >= 0 && r.target < model_.config().vocabulary, "forward: target ", r.target,
            " is outside the vocabulary of ", model_.config().vocabulary);
  }
  const packing& batch = with_leading(given, branches);
  start(batch, branches);
  std::vector<head_run> runs = runs_of(branches);
  const read_order order = order_reads(
      batch, [&](index_t row) { return stream_.batch().read_place(row); }, branches.count,
      queries(), runs);
  const index_t all = branches.count * reads;
  places_.reserve(all);
  likelihoods_.reserve(all);
  normaliser_.reserve(most_head_rows);
  exec_.upload(order.place.data(), all, places_.data());
  const tensor_view<const likelihood_place, 1> places = places_.view(all);
  const auto likelihoods = likelihoods_.view(all);
  if (!best.empty()) {
    best_.reserve(branches.count * queries());
  }
  index_t done = 0;  // rows of earlier runs
  for_each_head_run(branches, runs, [&](const head_run& run, tensor_view<const float, 2> logits) {
    const auto normaliser = normaliser_.view(logits.shape[0]);
    log_normalisers(exec_, logits, normaliser);
    log_likelihoods(exec_, logits, normaliser, places.rows(run.read, run.reads),
                    likelihoods.rows(run.read, run.reads));
    if (!best.empty()) {
      largest_logits(exec_, logits, best_.view(branches.count * queries()).rows(done, run.rows));
    }
    done += run.rows;
  });
  std::vector<double> host(static_cast<std::size_t>(all));  // all at once: a device waits once
  exec_.download(likelihoods.data, all, host.data());
  for (std::size_t i = 0; i < host.size(); ++i) {
    scores[static_cast<std::size_t>(order.read[i])] = host[i];
  }
  if (!best.empty()) {
    take_best(runs, order, best);
  }
}

template <executor X>
void decoder_forward<X>::take_best(std::span<const head_run> runs, const read_order& order,
                                   std::span<token_t> best) const {
  std::vector<token_t> host;
  index_t done = 0;
  for (const head_run& run : runs) {
    host.resize(static_cast<std::size_t>(run.rows));
    exec_.download(best_.data() + done, run.rows, host.data());
    for (index_t i = run.read; i < run.read + run.reads; ++i) {
      const auto at = static_cast<std::size_t>(i);
      best[static_cast<std::size_t>(order.read[at])] =
          host[static_cast<std::size_t>(order.place[at].row)];
    }
    done += run.rows;
  }
}

template <executor X>
std::vector<head_run> decoder_forward<X>::runs_of(const branch_parts& branches) const {
  const bool apart = !branches.on(model_.head()).empty();
  return head_runs(branches.stack(), queries(), most_head_rows, apart);
}

template <executor X>
template <class F>
void decoder_forward<X>::for_each_head_run(const branch_parts& branches,
                                           std::span<const head_run> runs, const F& f) {
  const decoder_config& c = model_.config();
  const parts added = branches.on(model_.head());
  const index_t together = branches.pairs ? 2 : 1;
  logits_.reserve(runs.front().rows * c.vocabulary);  // none has more rows than the first
  for (const head_run& run : runs) {
    tensor_view<const float, 2> input = h_.rows(run.first, run.count);
    if (branches.pairs) {
      const auto both = stream_.spare().view(run.rows, c.hidden);
      copy(exec_, input, both.rows(0, run.count));
      copy(exec_, h_.rows(run.second, run.count), both.rows(run.count, run.count));
      input = both;
    }
    const auto logits = logits_.view(run.rows, c.vocabulary);
    zoq::linear(exec_, input, weights()[model_.head()],
                added.empty() ? added : parts_of_branches(added, run.branch, together),
                {together, branches.pairs}, logits, "the head");
    f(run, logits);
  }
}

}  // namespace zoq
