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
// Rows of all branches are stacked, so every weight is decoded once for all of them. The last layer
// beyond its keys and values, the final norm and the head run only for rows where an answer is
// read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/model/batch.hpp"
#include "zoq/model/llama.hpp"
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
  static constexpr index_t head_rows = 64;  // rows whose logits exist at the same time

  /// Keeps references: executor and model must outlive the pass.
  llama_forward(const X& exec, const llama& model) : exec_(exec), model_(model) {
    for (const model_tensor& t : model.tensors()) {
      gains_.push_back(t.role == tensor_role::norm ? unpack(t.weight) : memory{});
    }
  }

  /// scores: [branches.count, batch.reads], row-major: the log-likelihood of every read in every
  /// branch. Throws on tokens outside the vocabulary and sequences beyond the context.
  void score(const packing& batch, const branch_parts& branches, std::span<double> scores) {
    const auto reads = static_cast<index_t>(batch.reads.size());
    require(static_cast<index_t>(scores.size()) == branches.count * reads,
            "forward: ", scores.size(), " places for ", reads, " scores of ", branches.count,
            " branches");
    // Reads by their place among the read rows, so that a run of logits serves a run of reads.
    struct wanted {
      index_t row, read;
    };
    run(batch, branches);
    std::vector<wanted> order;
    for (index_t b = 0; b < branches.count; ++b) {
      for (index_t r = 0; r < reads; ++r) {
        const index_t place = batch_.read_place(batch.reads[static_cast<std::size_t>(r)].row);
        order.push_back({b * batch_.read_row_count() + place, b * reads + r});
      }
    }
    std::sort(order.begin(), order.end(), [](const wanted& a, const wanted& b) {
      return a.row != b.row ? a.row < b.row : a.read < b.read;
    });
    std::size_t next = 0;
    for_each_head_run(branches, [&](index_t first, tensor_view<const float, 2> logits) {
      normaliser_.reserve(head_rows);
      log_normalisers(exec_, logits, normaliser_.view(logits.shape[0]));
      std::vector<double> normaliser(static_cast<std::size_t>(logits.shape[0]));
      exec_.download(normaliser_.data(), logits.shape[0], normaliser.data());
      for (; next < order.size() && order[next].row < first + logits.shape[0]; ++next) {
        const index_t row = order[next].row - first;
        const index_t read = order[next].read;
        const token_t target = batch.reads[static_cast<std::size_t>(read % reads)].target;
        require(target >= 0 && target < logits.shape[1], "forward: target ", target,
                " is outside the vocabulary of ", logits.shape[1]);
        float logit = 0;
        exec_.download(logits.row(row).data + target, 1, &logit);
        scores[static_cast<std::size_t>(read)] =
            static_cast<double>(logit) - normaliser[static_cast<std::size_t>(row)];
      }
    });
  }

  /// All logits of the rows that are read, in the order of their rows: [branches, read rows, V].
  void logits(const packing& batch, const branch_parts& branches, std::vector<float>& out) {
    run(batch, branches);
    const index_t columns = model_.config().vocabulary;
    out.resize(static_cast<std::size_t>(branches.count * batch_.read_row_count() * columns));
    for_each_head_run(branches, [&](index_t first, tensor_view<const float, 2> logits) {
      exec_.download(logits.data, logits.size(), out.data() + first * columns);
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
    for_each_head_run(branches, [&](index_t, tensor_view<const float, 2> row) {
      exec_.download(row.data, row.size(), logits.data());
    });
  }

  /// Bytes of activations and gains that this pass holds.
  [[nodiscard]] index_t byte_count() const {
    index_t bytes = batch_.byte_count() + normaliser_.byte_count();
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
    const index_t rows = branches.count * batch_.stream_rows();
    embed(exec_, batch_.tokens(), model_.tensor(model_.embedding()).weight, branches.count,
          x_.view(rows, c.hidden));
    for (index_t l = 0; l < c.layers; ++l) {
      layer(model_.layer(l), first < 0 ? shared_ : kept_[static_cast<std::size_t>(l)], branches,
            l + 1 == c.layers);
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
    multiply(n.key, branches, h_all, k);
    multiply(n.value, branches, h_all, v);
    rotary(exec_, k, batch_.positions(), turns);

    if (last) {
      keep_read_rows(branches.count, x_);
      keep_read_rows(branches.count, h_);
    }
    const auto x = x_.view(active, c.hidden);
    const auto h = h_.view(active, c.hidden);
    const auto mixed = mixed_.view(active, q_columns);
    const auto q = q_.view(active, q_columns);
    multiply(n.query, branches, h, q);
    rotary(exec_, q, positions, turns);
    attention(exec_, q_.view(active, c.heads, c.head_size),
              seen.k.view(all, c.kv_heads, c.head_size), seen.v.view(all, c.kv_heads, c.head_size),
              at, batch_.layout(), mixed_.view(active, c.heads, c.head_size));
    multiply(n.output, branches, mixed, h);
    add(exec_, h, x);

    const auto gate = gate_.view(active, c.feed_forward);
    const auto up = up_.view(active, c.feed_forward);
    rms_norm(exec_, x, gain(n.feed_forward_norm), c.norm_epsilon, h);
    multiply(n.gate, branches, h, gate);
    multiply(n.up, branches, h, up);
    swiglu(exec_, gate, up);
    multiply(n.down, branches, gate, h);
    add(exec_, h, x);
  }

  // Leaves the read rows of every branch in x: [branches * N, C] -> [branches * Q, C].
  void keep_read_rows(index_t branches, memory& x) {
    const index_t columns = model_.config().hidden;
    gather_rows(exec_, x.view(branches * batch_.stream_rows(), columns), batch_.read_places(),
                branches, mixed_.view(branches * batch_.read_row_count(), columns));
    std::swap(x, mixed_);
  }

  // Calls f(first row, logits [n, V]) for runs of the read rows of all branches.
  template <class F>
  void for_each_head_run(const branch_parts& branches, const F& f) {
    const llama_config& c = model_.config();
    const index_t read = branches.count * batch_.read_row_count();
    logits_.reserve(std::min(head_rows, read) * c.vocabulary);
    for (index_t first = 0; first < read; first += head_rows) {
      const index_t n = std::min(head_rows, read - first);
      const auto logits = logits_.view(n, c.vocabulary);
      zoq::linear(exec_, h_.view(read, c.hidden).rows(first, n),
                  model_.tensor(model_.head()).weight, {}, 1, logits, "the head");
      f(first, logits);
    }
  }

  void multiply(index_t tensor, const branch_parts& branches, tensor_view<const float, 2> x,
                tensor_view<float, 2> y) const {
    const model_tensor& t = model_.tensor(tensor);
    linear(exec_, x, t.weight, branches.on(tensor), branches.count, y, t.name);
  }

  [[nodiscard]] tensor_view<const float, 1> gain(index_t tensor) const {  // [C]
    const memory& from = gains_[static_cast<std::size_t>(tensor)];
    return {from.data(), {from.size()}};
  }

  memory unpack(const any_packed& weight) const {
    std::vector<float> values(static_cast<std::size_t>(weight.columns()));
    weight.visit([&](const auto& w) { decode_row(w, 0, values.data()); });
    memory out = exec_.template allocate<float>(weight.columns());
    exec_.upload(values.data(), weight.columns(), out.data());
    return out;
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
  device_batch<X> batch_;
  std::vector<memory> gains_;                     // by tensor number; norms only
  memory x_, h_, q_, mixed_, gate_, up_;          // activations
  keys_and_values shared_;                        // of one layer after another
  std::vector<keys_and_values> kept_;             // of every layer, for `extend`
  std::vector<token_t> sequence_;                 // what `extend` has seen
  memory logits_, turns_;                         // [head_rows, V], [positions, D]
  buffer<double, typename X::space> normaliser_;  // [head_rows]
};

/// The forward pass of this model: what a trainer calls, found by the model's type.
template <executor X>
llama_forward<X> forward_of(const X& exec, const llama& model) {
  return llama_forward<X>(exec, model);
}

}  // namespace zoq
