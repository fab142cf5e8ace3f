// The stream of a decoder: from tokens to the normed activations of the rows that are read, layer by
// layer, for several branches at once.
//
//     zoq::decoder_stream<X> stream(exec, model, weights);
//     auto h = stream.run(batch, branches);              // [branches * Q, C]
//
// One layer, with x the stream of activations [branches * T, C], as every family has it:
//
//     h = norm(x);  x += O attention(turn(Q h), turn(K h), V h)
//     h = norm(x);  x += D act(U h)
//
// Rows of all branches are stacked, so every weight is decoded once for all of them. Layers below the
// first one that the branches change run once for all. The last layer beyond its keys and values and
// the final norm run only for rows where an answer is read.
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
#include "zoq/model/decoder.hpp"
#include "zoq/model/resident.hpp"
#include "zoq/ops/embedding.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/ops/rows.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

template <executor X>
class decoder_stream {
 public:
  using memory = buffer<float, typename X::space>;  // the executor's
  using matrix = tensor_view<float, 2>;             // in it
  /// What one layer keeps of every row, to be seen by later ones.
  struct keys_and_values {
    memory k,  // [branches * T, K * D], turned where rotary
        v;     // [branches * T, K * D]
  };

  /// Keeps references: executor and model must outlive the stream.
  decoder_stream(const X& exec, const decoder& model, resident_weights<X> weights);

  /// The normed stream at the rows that are read: [branches * Q, C], valid until the next run. The
  /// batch has the branches' leading rows. With `kept`, a place for every layer's keys and values, rows
  /// before `first` are those of earlier runs and no longer in the stream; of one branch then. Throws on
  /// tokens outside the vocabulary and sequences beyond the context.
  matrix run(const packing& batch, const branch_parts& branches,
             std::span<const keys_and_values> kept = {}, index_t first = 0);

  [[nodiscard]] const device_batch<X>& batch() const { return batch_; }  // of the last run
  /// Room for rows of the stream that nothing needs between runs.
  [[nodiscard]] const memory& spare() const { return mixed_; }
  /// Those that it was made with.
  [[nodiscard]] const resident_weights<X>& weights() const { return weights_; }

  /// Bytes of activations, gains and biases; those of weights() are not among them.
  [[nodiscard]] index_t byte_count() const;

 private:
  // Tokens to x_: of all branches, and then true, where they differ already; else once.
  bool embed_rows(const branch_parts& branches);

  // Layer l: x_ -> x_. In the last one only the read rows go on after keys and values, which go to
  // `seen` behind those of earlier rows.
  void layer(index_t l, const keys_and_values& seen, const branch_parts& branches);

  // The queries of the active rows to q_, keys and values of all rows to `seen`. Leaves the active rows
  // in x_.
  void attention_inputs(index_t l, const keys_and_values& seen, const branch_parts& branches,
                        bool last);

  void turn(matrix x, tensor_view<const std::int32_t, 1> positions) const;

  void norm(const branch_parts& branches, index_t gain, index_t plus, tensor_view<const float, 2> x,
            matrix y);

  // Every head of x by itself, where the family has such a norm.
  void norm_heads(const branch_parts& branches, index_t gain, matrix x);

  void bias(const branch_parts& branches, index_t tensor, matrix y);

  // A gain or bias [1, C], or [branches, C] in `own` where branches change it.
  tensor_view<const float, 2> vector(index_t tensor, const branch_parts& branches, memory& own);

  // Leaves the read rows of every branch in x: [branches * N, C] -> [branches * Q, C].
  void keep_read_rows(index_t branches, memory& x);

  struct product {
    index_t tensor;
    matrix y;
  };
  // The products of x with several tensors: x is rounded once for all of them.
  void multiply(const branch_parts& branches, tensor_view<const float, 2> x,
                std::initializer_list<product> products) const;

  // The first layer with a part: below it all branches are the same.
  [[nodiscard]] index_t first_moved_layer(const branch_parts& branches) const;

  void reserve(index_t branches, index_t positions, bool share);

  const X& exec_;
  const decoder& model_;
  resident_weights<X> weights_;
  device_batch<X> batch_;
  std::vector<memory> vectors_;                   // by tensor number; gains and biases only
  memory x_, h_, q_, fused_, mixed_, gate_, up_;  // activations
  keys_and_values shared_;                        // of one layer after another
  memory turns_;                                  // [positions, D]
  memory own_gain_, own_bias_;                    // [branches, C]
};

template <executor X>
decoder_stream<X>::decoder_stream(const X& exec, const decoder& model, resident_weights<X> weights)
    : exec_(exec), model_(model), weights_(std::move(weights)) {
  for (const model_tensor& t : model.tensors()) {
    const bool is_vector = t.role == tensor_role::norm || t.role == tensor_role::bias;
    vectors_.push_back(is_vector ? gain_of(exec, t.weight) : memory{});
  }
}

template <executor X>
auto decoder_stream<X>::run(const packing& batch, const branch_parts& branches,
                            std::span<const keys_and_values> kept, index_t first) -> matrix {
  const decoder_config& c = model_.config();
  batch_.load(exec_, batch, c.vocabulary, c.context, first);
  reserve(branches.count, batch.positions(), kept.empty());
  const index_t rows = batch_.stream_rows();
  bool spread = embed_rows(branches) || branches.count == 1;
  const index_t apart = std::min(first_moved_layer(branches), c.layers - 1);
  for (index_t l = 0; l < c.layers; ++l) {
    if (l == apart && !spread) {
      repeat_rows(exec_, x_.view(rows, c.hidden), branches.count,
                  h_.view(branches.count * rows, c.hidden));
      std::swap(x_, h_);
      spread = true;
    }
    layer(l, kept.empty() ? shared_ : kept[static_cast<std::size_t>(l)],
          l < apart ? branch_parts{} : branches);
  }
  const index_t read = branches.count * batch_.read_row_count();
  const matrix h = h_.view(read, c.hidden);
  norm(branches, model_.numbers().output_norm, model_.numbers().output_norm_bias,
       x_.view(read, c.hidden), h);
  return h;
}

template <executor X>
index_t decoder_stream<X>::byte_count() const {
  index_t bytes = batch_.byte_count();
  for (const memory* m : {&x_, &h_, &q_, &fused_, &shared_.k, &shared_.v, &mixed_, &gate_, &up_,
                          &turns_, &own_gain_, &own_bias_}) {
    bytes += m->byte_count();
  }
  for (const memory& vector : vectors_) {
    bytes += vector.byte_count();
  }
  return bytes;
}

template <executor X>
bool decoder_stream<X>::embed_rows(const branch_parts& branches) {
  const decoder_config& c = model_.config();
  const model_numbers& n = model_.numbers();
  const parts words = branches.on(n.embedding);
  const parts places = n.positions < 0 ? parts{} : branches.on(n.positions);
  const bool moved = !words.empty() || !places.empty() || branches.prompt.has_value();
  const branch_stack stack = moved ? branches.stack() : branch_stack{};
  const matrix x = x_.view(stack.count * batch_.stream_rows(), c.hidden);
  embed(exec_, batch_.tokens(), weights_[n.embedding], words, stack, x);
  if (branches.prompt && batch_.first() == 0) {
    put_rows(exec_, branches.prompt->x, branches.prompt->rows, stack.count, x);
  }
  if (c.positions == position_kind::learned) {
    const matrix h = h_.view(x.shape[0], c.hidden);
    embed(exec_, batch_.positions(), weights_[n.positions], places, stack, h);
    add(exec_, h, x);
  }
  return moved;
}

template <executor X>
index_t decoder_stream<X>::first_moved_layer(const branch_parts& branches) const {
  if (branches.prompt || !branches.prefix.empty()) {
    return 0;
  }
  index_t first = model_.config().layers;
  for (std::size_t t = 0; t < branches.tensor.size(); ++t) {
    if (!branches.tensor[t].empty()) {
      const auto number = static_cast<index_t>(t);
      const model_numbers& n = model_.numbers();
      const index_t l = layer_of(model_.tensor(number).name);
      const bool below = number == n.embedding || number == n.positions;
      first = std::min(first, below ? 0 : l < 0 ? first : l);
    }
  }
  return first;
}

template <executor X>
void decoder_stream<X>::reserve(index_t branches, index_t positions, bool share) {
  const decoder_config& c = model_.config();
  const index_t rows = branches * batch_.stream_rows();
  const index_t widest = std::max(c.query_columns(), c.hidden);
  for (memory* stream : {&x_, &h_, &mixed_}) {  // these change places in the last layer
    stream->reserve(rows * widest);
  }
  q_.reserve(rows * c.query_columns());
  if (model_.layer(0).query_key_value >= 0) {
    fused_.reserve(rows * (c.query_columns() + 2 * c.kv_columns()));
  }
  if (share) {
    shared_.k.reserve(rows * c.kv_columns());
    shared_.v.reserve(rows * c.kv_columns());
  }
  if (c.activation == activation_kind::swiglu) {
    gate_.reserve(rows * c.feed_forward);
  }
  up_.reserve(rows * c.feed_forward);
  if (c.positions == position_kind::rotary && positions * c.head_size > turns_.size()) {
    const auto table = rotary_table(positions, c.head_size, c.rope_base);
    turns_.reserve(positions * c.head_size);
    exec_.upload(table.data(), positions * c.head_size, turns_.data());
  }
}

}  // namespace zoq

#include "zoq/model/decoder_stream_layer.hpp"  // the bodies about one layer
