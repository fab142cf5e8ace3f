// The forward pass of a Llama-family model over a packed batch, for several branches at once.
//
//     zoq::llama_forward pass(exec, model);
//     pass.score(batch, branches, scores);    // log p of every read, [branches, reads]
//     pass.logits(batch, {}, logits);         // all logits of every row that is read
//     pass.extend(tokens, {}, logits);        // goes on with a sequence, token by token
//
// One layer, with x the stream of activations [branches * T, C]:
//
//     h = rms_norm(x);  x += O attention(rotary(Q h), rotary(K h), V h)
//     h = rms_norm(x);  x += D (silu(G h) * U h)
//
// Rows of all branches are stacked, so every weight is decoded once for all of them. Layers below the
// first one that the branches change run once for all. The last layer beyond its keys and values, the
// final norm and the head run only for rows where an answer is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/model/batch.hpp"
#include "zoq/model/head_runs.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/model/resident.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/ops/embedding.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

template <executor X>
class llama_forward {
 public:
  /// Keeps references: executor and model must outlive the pass.
  llama_forward(const X& exec, const llama& model)
      : llama_forward(exec, model, resident_weights<X>(exec, model.tensors())) {}
  /// The same with weights that other passes use too.
  llama_forward(const X& exec, const llama& model, resident_weights<X> weights)
      : exec_(exec), model_(model), weights_(std::move(weights)) {
    for (const model_tensor& t : model.tensors()) {
      gains_.push_back(t.role == tensor_role::norm ? gain_of(exec, t.weight) : memory{});
    }
  }

  /// scores: [branches.count, batch.reads], row-major: the log-likelihood of every read in every
  /// branch. Throws on tokens outside the vocabulary and sequences beyond the context.
  void score(const packing& batch, const branch_parts& branches, std::span<double> scores) {
    const auto reads = static_cast<index_t>(batch.reads.size());
    require(static_cast<index_t>(scores.size()) == branches.count * reads,
            "forward: ", scores.size(), " places for ", reads, " scores of ", branches.count,
            " branches");
    for (const token_read& r : batch.reads) {
      require(r.target >= 0 && r.target < model_.config().vocabulary, "forward: target ", r.target,
              " is outside the vocabulary of ", model_.config().vocabulary);
    }
    run(batch, branches);
    std::vector<head_run> runs = runs_of(branches);
    const read_order order = order_reads(
        batch, [&](index_t row) { return batch_.read_place(row); }, branches.count,
        batch_.read_row_count(), runs);
    const index_t all = branches.count * reads;
    places_.reserve(all);
    likelihoods_.reserve(all);
    normaliser_.reserve(most_head_rows);
    exec_.upload(order.place.data(), all, places_.data());
    const tensor_view<const likelihood_place, 1> places = places_.view(all);
    const auto likelihoods = likelihoods_.view(all);
    for_each_head_run(branches, runs, [&](const head_run& run, tensor_view<const float, 2> logits) {
      const auto normaliser = normaliser_.view(logits.shape[0]);
      log_normalisers(exec_, logits, normaliser);
      log_likelihoods(exec_, logits, normaliser, places.rows(run.read, run.reads),
                      likelihoods.rows(run.read, run.reads));
    });
    std::vector<double> host(static_cast<std::size_t>(all));  // all at once: a device waits once
    exec_.download(likelihoods.data, all, host.data());
    for (std::size_t i = 0; i < host.size(); ++i) {
      scores[static_cast<std::size_t>(order.read[i])] = host[i];
    }
  }

  /// All logits of the rows that are read, in the order of their rows: [branches, read rows, V].
  void logits(const packing& batch, const branch_parts& branches, std::vector<float>& out) {
    run(batch, branches);
    const index_t columns = model_.config().vocabulary;
    out.resize(static_cast<std::size_t>(branches.count * batch_.read_row_count() * columns));
    for_each_head_run(
        branches, runs_of(branches), [&](const head_run& rows, tensor_view<const float, 2> logits) {
          for (index_t i = 0; i < logits.shape[0]; ++i) {
            exec_.download(logits.row(i).data, columns, out.data() + rows.row(i) * columns);
          }
        });
  }

  /// Begins a sequence of at most `rows` tokens for `extend`: room for the keys and values of all
  /// layers, 2 * layers * rows * K * D floats. Throws when the model's context is shorter.
  void start_sequence(index_t rows) {
    const llama_config& c = model_.config();
    require(rows > 0 && rows <= c.context, "forward: a sequence of ", rows,
            " tokens, the model's context is ", c.context);
    sequence_.clear();
    kept_.clear();
    for (index_t l = 0; l < c.layers; ++l) {
      kept_.push_back({exec_.template allocate<float>(rows * c.kv_heads * c.head_size),
                       exec_.template allocate<float>(rows * c.kv_heads * c.head_size)});
    }
  }

  /// The logits [V] after `tokens`, which follow those of earlier calls since start_sequence. Only
  /// they are computed. One branch. Throws when they do not fit the sequence.
  void extend(std::span<const token_t> tokens, const branch_parts& branches,
              std::vector<float>& logits) {
    require(branches.count == 1, "forward: a sequence has one branch, found ", branches.count);
    const auto first = static_cast<index_t>(sequence_.size());
    const index_t rows = first + static_cast<index_t>(tokens.size());
    const llama_config& c = model_.config();
    require(!tokens.empty(), "forward: no tokens to go on with");
    require(!kept_.empty() && rows * c.kv_heads * c.head_size <= kept_[0].k.size(),
            "forward: ", rows, " tokens are more than the sequence has room for");
    std::vector<token_t> all = sequence_;
    all.insert(all.end(), tokens.begin(), tokens.end());
    packing batch;
    batch.add(all);
    batch.read(0, rows - 1, 0);
    run(batch, branches, first);
    sequence_ = std::move(all);  // only now: after an error the sequence is as it was
    logits.resize(static_cast<std::size_t>(c.vocabulary));
    for_each_head_run(branches, runs_of(branches),
                      [&](const head_run&, tensor_view<const float, 2> row) {
                        exec_.download(row.data, row.size(), logits.data());
                      });
  }

  /// Bytes of activations and gains that this pass holds; those of weights() are not among them.
  [[nodiscard]] index_t byte_count() const {
    index_t bytes = batch_.byte_count() + normaliser_.byte_count() + places_.byte_count() +
                    likelihoods_.byte_count();
    for (const memory* m :
         {&x_, &h_, &q_, &shared_.k, &shared_.v, &mixed_, &gate_, &up_, &logits_, &turns_}) {
      bytes += m->byte_count();
    }
    for (const memory& gain : gains_) {
      bytes += gain.byte_count();
    }
    for (const keys_and_values& layer : kept_) {
      bytes += layer.k.byte_count() + layer.v.byte_count();
    }
    return bytes;
  }

  /// The model's weights in the executor's memory, which other passes may share.
  [[nodiscard]] const resident_weights<X>& weights() const { return weights_; }

 private:
  using memory = buffer<float, typename X::space>;
  struct keys_and_values {
    memory k, v;  // [branches * T, K * D]
  };

  // From tokens to the normed stream at the rows that are read: h_ [branches * Q, C]. With `first`,
  // rows before it are those of the sequence that `extend` goes on with.
  void run(const packing& batch, const branch_parts& branches, index_t first = -1) {
    const llama_config& c = model_.config();
    batch_.load(exec_, batch, c.vocabulary, c.context, std::max<index_t>(first, 0));
    reserve(branches.count, batch.positions());
    const index_t rows = batch_.stream_rows();
    embed(exec_, batch_.tokens(), weights_[model_.embedding()], 1, x_.view(rows, c.hidden));
    const index_t apart = std::min(first_moved_layer(branches), c.layers - 1);
    for (index_t l = 0; l < c.layers; ++l) {
      if (l == apart && branches.count > 1) {
        repeat_rows(exec_, x_.view(rows, c.hidden), branches.count,
                    h_.view(branches.count * rows, c.hidden));
        std::swap(x_, h_);
      }
      layer(model_.layer(l), first < 0 ? shared_ : kept_[static_cast<std::size_t>(l)],
            l < apart ? branch_parts{} : branches, l + 1 == c.layers);
    }
    const index_t read = branches.count * batch_.read_row_count();
    rms_norm(exec_, x_.view(read, c.hidden), gain(model_.output_norm()), c.norm_epsilon,
             h_.view(read, c.hidden));
  }

  // One layer: x_ -> x_. In the last one only the read rows go on after keys and values, which go
  // to `seen` behind those of earlier rows.
  void layer(const llama::layer_numbers& n, const keys_and_values& seen,
             const branch_parts& branches, bool last) {
    const llama_config& c = model_.config();
    const index_t rows = branches.count * batch_.stream_rows();
    const index_t all = branches.count * batch_.rows();
    const auto at = last ? batch_.read_rows() : batch_.all_rows();
    const auto positions = last ? batch_.read_positions() : batch_.positions();
    const index_t active = branches.count * at.shape[0];
    const index_t q_columns = c.heads * c.head_size;
    const index_t kv_columns = c.kv_heads * c.head_size;
    const auto turns = turns_.view(turns_.size() / c.head_size, c.head_size);

    const auto x_all = x_.view(rows, c.hidden);
    const auto h_all = h_.view(rows, c.hidden);
    const auto k = seen.k.view(all, kv_columns).rows(batch_.first(), rows);
    const auto v = seen.v.view(all, kv_columns).rows(batch_.first(), rows);
    rms_norm(exec_, x_all, gain(n.attention_norm), c.norm_epsilon, h_all);
    if (last) {
      multiply(branches, h_all, {{n.key, k}, {n.value, v}});
    } else {
      multiply(branches, h_all, {{n.query, q_.view(active, q_columns)}, {n.key, k}, {n.value, v}});
    }
    rotary(exec_, k, batch_.positions(), turns);

    if (last) {
      keep_read_rows(branches.count, x_);
      keep_read_rows(branches.count, h_);
      multiply(branches, h_.view(active, c.hidden), {{n.query, q_.view(active, q_columns)}});
    }
    const auto x = x_.view(active, c.hidden);
    const auto h = h_.view(active, c.hidden);
    const auto mixed = mixed_.view(active, q_columns);
    const auto q = q_.view(active, q_columns);
    rotary(exec_, q, positions, turns);
    attention(exec_, q_.view(active, c.heads, c.head_size),
              seen.k.view(all, c.kv_heads, c.head_size), seen.v.view(all, c.kv_heads, c.head_size),
              at, batch_.layout(), mixed_.view(active, c.heads, c.head_size));
    multiply(branches, mixed, {{n.output, h}});
    add(exec_, h, x);

    const auto gate = gate_.view(active, c.feed_forward);
    const auto up = up_.view(active, c.feed_forward);
    rms_norm(exec_, x, gain(n.feed_forward_norm), c.norm_epsilon, h);
    multiply(branches, h, {{n.gate, gate}, {n.up, up}});
    swiglu(exec_, gate, up);
    multiply(branches, gate, {{n.down, h}});
    add(exec_, h, x);
  }

  // Leaves the read rows of every branch in x: [branches * N, C] -> [branches * Q, C].
  void keep_read_rows(index_t branches, memory& x) {
    const index_t columns = model_.config().hidden;
    gather_rows(exec_, x.view(branches * batch_.stream_rows(), columns), batch_.read_places(),
                branches, mixed_.view(branches * batch_.read_row_count(), columns));
    std::swap(x, mixed_);
  }

  [[nodiscard]] std::vector<head_run> runs_of(const branch_parts& branches) const {
    return head_runs(branches.stack(), batch_.read_row_count(), most_head_rows);
  }

  // Calls f(head_run, logits [n, V]) for every run.
  template <class F>
  void for_each_head_run(const branch_parts& branches, std::span<const head_run> runs, const F& f) {
    const llama_config& c = model_.config();
    logits_.reserve(runs.front().rows * c.vocabulary);  // none has more rows than the first
    const auto h = h_.view(branches.count * batch_.read_row_count(), c.hidden);
    for (const head_run& run : runs) {
      tensor_view<const float, 2> input = h.rows(run.first, run.count);
      if (branches.pairs) {
        const auto both = mixed_.view(run.rows, c.hidden);
        copy(exec_, input, both.rows(0, run.count));
        copy(exec_, h.rows(run.second, run.count), both.rows(run.count, run.count));
        input = both;
      }
      const auto logits = logits_.view(run.rows, c.vocabulary);
      zoq::linear(exec_, input, weights_[model_.head()], {},
                  {branches.pairs ? 2 : 1, branches.pairs}, logits, "the head");
      f(run, logits);
    }
  }

  struct product {
    index_t tensor;
    tensor_view<float, 2> y;
  };
  // The products of x with several tensors: x is rounded once for all of them.
  void multiply(const branch_parts& branches, tensor_view<const float, 2> x,
                std::initializer_list<product> products) const {
    linear_targets targets;
    for (const product& p : products) {
      const model_tensor& t = model_.tensor(p.tensor);
      targets.add({weights_[p.tensor], branches.on(p.tensor), p.y, t.name});
    }
    linear(exec_, x, branches.stack(), targets);
  }

  // The first layer with a part: below it all branches are the same.
  [[nodiscard]] index_t first_moved_layer(const branch_parts& branches) const {
    for (index_t l = 0; l < model_.config().layers; ++l) {
      const llama::layer_numbers n = model_.layer(l);
      for (const index_t t : {n.query, n.key, n.value, n.output, n.gate, n.up, n.down}) {
        if (!branches.on(t).empty()) {
          return l;
        }
      }
    }
    return model_.config().layers;
  }

  [[nodiscard]] tensor_view<const float, 1> gain(index_t tensor) const {  // [C]
    const memory& from = gains_[static_cast<std::size_t>(tensor)];
    return {from.data(), {from.size()}};
  }

  void reserve(index_t branches, index_t positions) {
    const llama_config& c = model_.config();
    const index_t rows = branches * batch_.stream_rows();
    const index_t q_columns = c.heads * c.head_size;
    const index_t widest = std::max(q_columns, c.hidden);
    for (memory* stream : {&x_, &h_, &mixed_}) {  // these change places in the last layer
      stream->reserve(rows * widest);
    }
    q_.reserve(rows * q_columns);
    if (batch_.first() == 0) {
      shared_.k.reserve(rows * c.kv_heads * c.head_size);
      shared_.v.reserve(rows * c.kv_heads * c.head_size);
    }
    gate_.reserve(rows * c.feed_forward);
    up_.reserve(rows * c.feed_forward);
    if (positions * c.head_size > turns_.size()) {
      const auto table = rotary_table(positions, c.head_size, c.rope_base);
      turns_.reserve(positions * c.head_size);
      exec_.upload(table.data(), positions * c.head_size, turns_.data());
    }
  }

  const X& exec_;
  const llama& model_;
  resident_weights<X> weights_;
  device_batch<X> batch_;
  std::vector<memory> gains_;                           // by tensor number; norms only
  memory x_, h_, q_, mixed_, gate_, up_;                // activations
  keys_and_values shared_;                              // of one layer after another
  std::vector<keys_and_values> kept_;                   // of every layer, for `extend`
  std::vector<token_t> sequence_;                       // what `extend` has seen
  memory logits_, turns_;                               // [most_head_rows, V], [positions, D]
  buffer<double, typename X::space> normaliser_;        // [most_head_rows]
  buffer<likelihood_place, typename X::space> places_;  // [branches * reads] by runs
  buffer<double, typename X::space> likelihoods_;       // [branches * reads]
};

/// The forward pass of this model: what a trainer calls, found by the model's type.
template <executor X>
llama_forward<X> forward_of(const X& exec, const llama& model) {
  return llama_forward<X>(exec, model);
}

}  // namespace zoq
