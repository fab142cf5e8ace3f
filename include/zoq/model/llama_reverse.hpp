// The reverse pass of a Llama-family model, layer by layer, for offline scores of its weights.
//
//     zoq::llama_reverse pass(exec, model);
//     double loss = pass.gradients(zoq::text_samples{windows}, {}, visit, progress);
//     // visit(name, rows, columns, span of mean over samples of (d loss / d w)^2)
//
// Samples (reverse_groups.hpp) have a loss each, of likelihoods that are read in packed rows; options
// share their prompt's rows here too. A forward pass keeps the input of every s-th layer, s near the
// root of their number. Then, from the last run of s layers down, the inputs of the run's layers are
// computed again; and from its last layer down, a layer with all that its reverse needs, and only the
// sums of its seven matrices exist at a time. Memory: about 2 sqrt(layers) * rows * hidden floats, and
// a layer's sums. Cost: about six forward passes. Keeping some inputs and computing others again: Chen
// et al., arXiv 1604.06174.
// Tuning never includes this header.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/model/batch.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/model/resident.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/model/reverse_head.hpp"
#include "zoq/ops/embedding.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

template <executor X>
class llama_reverse {
 public:
  static constexpr index_t group_rows = 1024;  // rows that go through a layer together

  /// Keeps references: executor and model must outlive the pass. Throws on another family than llama.
  llama_reverse(const X& exec, const llama& model);
  /// The same with weights that other passes use too.
  llama_reverse(const X& exec, const llama& model, resident_weights<X> weights);

  /// Calls visit(name, rows, columns, gradients) for every matrix of a linear layer, last layer
  /// first; `progress(done, all)` after each piece of work. Returns the samples' mean loss. Throws on
  /// tokens outside the vocabulary, sequences beyond the context, and parts that are not sparse.
  double gradients(samples_ref samples, const gradient_options& options, gradient_visitor visit,
                   function_ref<void(index_t, index_t)> progress);

  /// Mean squares for windows of plain text.
  double squared_gradients(std::span<const std::vector<token_t>> windows, gradient_visitor visit,
                           function_ref<void(index_t, index_t)> progress);

 private:
  using memory = buffer<float, typename X::space>;
  using matrix = tensor_view<float, 2>;

  enum kept { kept_q, kept_k, kept_v, kept_o, kept_gate, kept_up, kept_down, kept_count };

  void prepare(samples_ref samples, const gradient_options& options);

  // Inputs that the forward pass keeps; those between are computed again, a run of layers at a time.
  [[nodiscard]] bool is_kept(index_t l) const {
    return l % run_ == 0 || l == model_.config().layers;
  }
  [[nodiscard]] index_t rows() const { return batch_.rows(); }

  void load(const sample_group& group);

  // The stream before layer l, rows of the loaded group: [rows, C].
  matrix input(index_t l) const;
  // The gradient of the loss towards the stream: lives where the last layer's output was.
  matrix stream_gradient() const { return input(model_.config().layers); }

  [[nodiscard]] memory gain(index_t tensor) const {
    return gain_of(exec_, model_.tensor(tensor).weight);
  }
  const any_packed& weight(index_t tensor) const { return weights_[tensor]; }
  rotary_pairs pairs() const {
    return model_.config().rotary_halves ? rotary_pairs::halves : rotary_pairs::neighbours;
  }

  tensor_view<float, 3> by_heads(const memory& m, index_t heads) const {
    return m.view(rows(), heads, model_.config().head_size);
  }

  void multiply(index_t tensor, tensor_view<const float, 2> x, matrix y) const;
  void multiply_reverse(index_t tensor, tensor_view<const float, 2> dy, matrix dx) const;

  // Runs layer l over x, keeps what the reverse needs, and writes its output.
  void forward_layer(index_t l, matrix x, matrix output);

  // stream_gradient: towards the output of layer l -> towards its input. Adds to the sums.
  void reverse_layer(index_t l);

  // Adds the gradient of the loaded group, dy^T x: of every sample squared, or of all together.
  void accumulate(kept which, tensor_view<const float, 2> dy, tensor_view<const float, 2> x);

  void visit_layer(index_t l, gradient_visitor visit);

  const X& exec_;
  const llama& model_;
  resident_weights<X> weights_;
  device_batch<X> batch_;
  gradient_options options_;
  std::vector<sample_group> groups_;
  const sample_group* group_ = nullptr;  // that is loaded
  buffer<std::int32_t, typename X::space> first_segments_;
  index_t count_ = 0, all_rows_ = 0, positions_ = 0;  // samples, rows of all groups
  index_t run_ = 1;                                   // layers between kept inputs
  std::vector<memory> inputs_;  // before every layer, and after the last: [all rows, C]
  memory h1_, x1_, h2_, q_, k_, v_, mixed_, gate_, up_, act_;    // a layer's forward pass
  memory dx_, dh_, dq_, dk_, dv_, dmixed_, dgate_, dup_, dact_;  // and its reverse
  memory scratch_c_, weight_gradient_, scores_, turns_;
  memory sums_[kept_count];
};

/// The reverse pass of this model: what a score calls, found by the model's type.
template <executor X>
llama_reverse<X> reverse_of(const X& exec, const llama& model) {
  return llama_reverse<X>(exec, model);
}

template <executor X>
llama_reverse<X>::llama_reverse(const X& exec, const llama& model)
    : llama_reverse(exec, model, resident_weights<X>(exec, model.tensors())) {}

template <executor X>
llama_reverse<X>::llama_reverse(const X& exec, const llama& model, resident_weights<X> weights)
    : exec_(exec), model_(model), weights_(std::move(weights)) {
  require(model.config().family == "llama", "reverse: built for the llama family, the model is a ",
          model.config().family, ". Of scores, random, magnitude and those by second differences ",
          "need no reverse pass");
}

template <executor X>
double llama_reverse<X>::gradients(samples_ref samples, const gradient_options& options,
                                   gradient_visitor visit,
                                   function_ref<void(index_t, index_t)> progress) {
  prepare(samples, options);
  const llama_config& c = model_.config();
  const index_t runs = (c.layers + run_ - 1) / run_;  // whose first inputs are kept
  const auto groups = static_cast<index_t>(groups_.size());
  const index_t work = groups * (3 * c.layers - runs + 1);
  const memory final_gain = gain(model_.output_norm());
  index_t done = 0;
  double loss = 0;
  for (const sample_group& group : groups_) {
    load(group);
    embed(exec_, batch_.tokens(), weight(model_.embedding()), 1, input(0));
    matrix x = input(0);
    for (index_t l = 0; l < c.layers; ++l) {
      const memory& passing = l % 2 == 0 ? scratch_c_ : dx_;
      const matrix y = is_kept(l + 1) ? input(l + 1) : passing.view(rows(), c.hidden);
      forward_layer(l, x, y);
      x = y;
      progress(++done, work);
    }
    loss += reverse_head(exec_, {weight(model_.head()), final_gain.view(c.hidden), c.norm_epsilon},
                         group, batch_, samples, stream_gradient());
    progress(++done, work);
  }
  for (index_t first = (c.layers - 1) / run_ * run_; first >= 0; first -= run_) {
    const index_t last = std::min(first + run_, c.layers) - 1;
    for (index_t l = first; l < last; ++l) {
      inputs_[static_cast<std::size_t>(l + 1)] =
          exec_.template allocate<float>(all_rows_ * c.hidden);
    }
    for (const sample_group& group : groups_) {
      load(group);
      for (index_t l = first; l < last; ++l) {
        forward_layer(l, input(l), input(l + 1));
        progress(++done, work);
      }
    }
    for (index_t l = last; l >= first; --l) {
      for (memory& m : sums_) {
        m = memory();
      }
      for (const sample_group& group : groups_) {
        load(group);
        forward_layer(l, input(l), scratch_c_.view(rows(), c.hidden));
        reverse_layer(l);
        progress(++done, work);
      }
      inputs_[static_cast<std::size_t>(l)] = memory();
      visit_layer(l, visit);
    }
  }
  return loss / static_cast<double>(count_);
}

template <executor X>
double llama_reverse<X>::squared_gradients(std::span<const std::vector<token_t>> windows,
                                           gradient_visitor visit,
                                           function_ref<void(index_t, index_t)> progress) {
  return gradients(text_samples{{windows.begin(), windows.end()}}, {}, visit, progress);
}

template <executor X>
void llama_reverse<X>::prepare(samples_ref samples, const gradient_options& options) {
  const llama_config& c = model_.config();
  options_ = options;
  require(options.at.count == 1 && !options.at.prompt && options.at.prefix.empty(),
          "reverse: gradients are taken at sparse values of one branch only");
  for (std::size_t t = 0; t < options.at.tensor.size(); ++t) {
    const parts& p = options.at.tensor[t];
    require(p.empty() || (!p.low_rank && !p.changes_weight() &&
                          model_.tensors()[t].role == tensor_role::linear),
            "reverse: gradients are taken at sparse values only, found others on ",
            model_.tensors()[t].name);
  }
  groups_ = groups_of(samples, group_rows);
  count_ = samples.count();
  all_rows_ = groups_.back().first_row + groups_.back().batch.rows();
  index_t rows = 0, texts = 0;
  positions_ = 0;
  for (const sample_group& g : groups_) {
    rows = std::max(rows, g.batch.rows());
    texts = std::max(texts, g.samples());
    positions_ = std::max(positions_, g.batch.positions());
  }
  const index_t q = c.heads * c.head_size;
  const index_t kv = c.kv_heads * c.head_size;
  const auto take = [&](index_t n) { return exec_.template allocate<float>(n); };
  run_ = static_cast<index_t>(std::ceil(std::sqrt(static_cast<double>(c.layers))));
  inputs_.clear();
  for (index_t l = 0; l <= c.layers; ++l) {  // the last one becomes the stream's gradient
    inputs_.push_back(is_kept(l) ? take(all_rows_ * c.hidden) : memory());
  }
  for (memory* m : {&h1_, &x1_, &h2_, &scratch_c_, &dx_, &dh_}) {
    *m = take(rows * c.hidden);
  }
  for (memory* m : {&q_, &mixed_, &dq_, &dmixed_}) {
    *m = take(rows * q);
  }
  for (memory* m : {&k_, &v_, &dk_, &dv_}) {
    *m = take(rows * kv);
  }
  for (memory* m : {&gate_, &up_, &act_, &dgate_, &dup_, &dact_}) {
    *m = take(rows * c.feed_forward);
  }
  weight_gradient_ = take(std::max({c.feed_forward * c.hidden, q * c.hidden, kv * c.hidden}));
  scores_ = take(texts * c.kv_heads * 2 * positions_);
  const auto table = rotary_table(positions_, c.head_size, c.rope_base);
  turns_ = take(positions_ * c.head_size);
  exec_.upload(table.data(), turns_.size(), turns_.data());
}

template <executor X>
void llama_reverse<X>::load(const sample_group& group) {
  group_ = &group;
  batch_.load(exec_, group.batch, model_.config().vocabulary, model_.config().context);
  const std::vector<std::int32_t> first = group.first_segments();
  first_segments_.reserve(static_cast<index_t>(first.size()));
  exec_.upload(first.data(), static_cast<index_t>(first.size()), first_segments_.data());
}

template <executor X>
auto llama_reverse<X>::input(index_t l) const -> matrix {
  const index_t c = model_.config().hidden;
  return inputs_[static_cast<std::size_t>(l)].view(all_rows_, c).rows(group_->first_row, rows());
}

template <executor X>
void llama_reverse<X>::visit_layer(index_t l, gradient_visitor visit) {
  const auto n = model_.layer(l);
  const index_t numbers[kept_count] = {n.query, n.key, n.value, n.output, n.gate, n.up, n.down};
  std::vector<float> host;
  for (std::size_t i = 0; i < kept_count; ++i) {
    const model_tensor& t = model_.tensor(numbers[i]);
    host.resize(static_cast<std::size_t>(sums_[i].size()));
    exec_.download(sums_[i].data(), sums_[i].size(), host.data());
    visit(t.name, t.weight.rows(), t.weight.columns(), std::span<const float>(host));
  }
}

}  // namespace zoq

#include "zoq/model/llama_reverse_layer.hpp"  // the bodies about one layer
