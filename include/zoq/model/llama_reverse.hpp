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
#include "zoq/ops/attention.hpp"
#include "zoq/ops/embedding.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/reverse.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

/// sum[i] += g[i]^2 * scale, or g[i] * scale.
struct add_gradient_run {
  const float* g;  // [n]
  float scale;     // 1 / samples
  bool squared;    // the mean of squares is wanted
  float* sum;      // [n]
  index_t n;       // weights of the matrix
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * run_length;
    const index_t end = begin + run_length < n ? begin + run_length : n;
    for (index_t i = begin; i < end; ++i) {
      sum[i] += (squared ? g[i] * g[i] : g[i]) * scale;
    }
  }
};

template <executor X>
class llama_reverse {
 public:
  static constexpr index_t group_rows = 1024;  // rows that go through a layer together

  /// Keeps references: executor and model must outlive the pass. Throws on another family than llama.
  llama_reverse(const X& exec, const llama& model)
      : llama_reverse(exec, model, resident_weights<X>(exec, model.tensors())) {}
  /// The same with weights that other passes use too.
  llama_reverse(const X& exec, const llama& model, resident_weights<X> weights)
      : exec_(exec), model_(model), weights_(std::move(weights)) {
    require(model.config().family == "llama",
            "reverse: built for the llama family, the model is a ", model.config().family,
            ". Of scores, random, magnitude and those by second differences ",
            "need no reverse pass");
  }

  /// Calls visit(name, rows, columns, gradients) for every matrix of a linear layer, last layer
  /// first; `progress(done, all)` after each piece of work. Returns the samples' mean loss. Throws on
  /// tokens outside the vocabulary, sequences beyond the context, and parts that are not sparse.
  template <reverse_samples Samples>
  double gradients(const Samples& samples, const gradient_options& options, gradient_visitor visit,
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
      loss +=
          reverse_head(exec_, {weight(model_.head()), final_gain.view(c.hidden), c.norm_epsilon},
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

  /// Mean squares for windows of plain text.
  double squared_gradients(std::span<const std::vector<token_t>> windows, gradient_visitor visit,
                           function_ref<void(index_t, index_t)> progress) {
    return gradients(text_samples{{windows.begin(), windows.end()}}, {}, visit, progress);
  }

 private:
  using memory = buffer<float, typename X::space>;
  using matrix = tensor_view<float, 2>;

  enum kept { kept_q, kept_k, kept_v, kept_o, kept_gate, kept_up, kept_down, kept_count };

  template <class Samples>
  void prepare(const Samples& samples, const gradient_options& options) {
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

  // Inputs that the forward pass keeps; those between are computed again, a run of layers at a time.
  [[nodiscard]] bool is_kept(index_t l) const {
    return l % run_ == 0 || l == model_.config().layers;
  }
  [[nodiscard]] index_t rows() const { return batch_.rows(); }

  void load(const sample_group& group) {
    group_ = &group;
    batch_.load(exec_, group.batch, model_.config().vocabulary, model_.config().context);
    const std::vector<std::int32_t> first = group.first_segments();
    first_segments_.reserve(static_cast<index_t>(first.size()));
    exec_.upload(first.data(), static_cast<index_t>(first.size()), first_segments_.data());
  }

  // The stream before layer l, rows of the loaded group: [rows, C].
  matrix input(index_t l) const {
    const index_t c = model_.config().hidden;
    return inputs_[static_cast<std::size_t>(l)].view(all_rows_, c).rows(group_->first_row, rows());
  }
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

  void multiply(index_t tensor, tensor_view<const float, 2> x, matrix y) const {
    linear(exec_, x, weight(tensor), options_.at.on(tensor), {}, y);
  }
  void multiply_reverse(index_t tensor, tensor_view<const float, 2> dy, matrix dx) const {
    exec_.linear_to_input(dy, weight(tensor), dx);
    if (const parts p = options_.at.on(tensor); p.sparse.has_value()) {
      exec_.for_each(dy.shape[0], overlay_reverse_row{*p.sparse, dy, dx});
    }
  }

  // Runs layer l over x, keeps what the reverse needs, and writes its output.
  void forward_layer(index_t l, matrix x, matrix output) {
    const llama_config& c = model_.config();
    const auto n = model_.layer(l);
    const auto turns = turns_.view(positions_, c.head_size);
    const index_t q_columns = c.heads * c.head_size;
    const index_t kv_columns = c.kv_heads * c.head_size;
    const matrix h1 = h1_.view(rows(), c.hidden);
    const matrix x1 = x1_.view(rows(), c.hidden);
    const matrix h2 = h2_.view(rows(), c.hidden);
    const memory gain1 = gain(n.attention_norm);
    const memory gain2 = gain(n.feed_forward_norm);
    rms_norm(exec_, x, gain1.view(c.hidden), c.norm_epsilon, h1);
    multiply(n.query, h1, q_.view(rows(), q_columns));
    multiply(n.key, h1, k_.view(rows(), kv_columns));
    multiply(n.value, h1, v_.view(rows(), kv_columns));
    rotary(exec_, q_.view(rows(), q_columns), batch_.positions(), turns, 1.0f, pairs());
    rotary(exec_, k_.view(rows(), kv_columns), batch_.positions(), turns, 1.0f, pairs());
    attention(exec_, by_heads(q_, c.heads), by_heads(k_, c.kv_heads), by_heads(v_, c.kv_heads),
              batch_.all_rows(), batch_.layout(), by_heads(mixed_, c.heads));
    multiply(n.output, mixed_.view(rows(), q_columns), x1);
    add(exec_, x, x1);
    rms_norm(exec_, x1, gain2.view(c.hidden), c.norm_epsilon, h2);
    const matrix gate = gate_.view(rows(), c.feed_forward);
    const matrix up = up_.view(rows(), c.feed_forward);
    const matrix act = act_.view(rows(), c.feed_forward);
    multiply(n.gate, h2, gate);
    multiply(n.up, h2, up);
    copy(exec_, gate, act);
    swiglu(exec_, act, up);
    multiply(n.down, act, output);
    add(exec_, x1, output);
  }

  // stream_gradient: towards the output of layer l -> towards its input. Adds to the sums.
  void reverse_layer(index_t l) {
    const llama_config& c = model_.config();
    const auto n = model_.layer(l);
    const index_t q_columns = c.heads * c.head_size;
    const index_t kv_columns = c.kv_heads * c.head_size;
    const matrix dy = stream_gradient();
    const matrix dh = dh_.view(rows(), c.hidden);
    const matrix part = dx_.view(rows(), c.hidden);
    const memory gain1 = gain(n.attention_norm);
    const memory gain2 = gain(n.feed_forward_norm);

    const matrix act = act_.view(rows(), c.feed_forward);
    const matrix dact = dact_.view(rows(), c.feed_forward);
    const matrix dgate = dgate_.view(rows(), c.feed_forward);
    const matrix dup = dup_.view(rows(), c.feed_forward);
    const matrix h2 = h2_.view(rows(), c.hidden);
    multiply_reverse(n.down, dy, dact);
    accumulate(kept_down, dy, act);
    swiglu_reverse(exec_, gate_.view(rows(), c.feed_forward), up_.view(rows(), c.feed_forward),
                   dact, dgate, dup);
    accumulate(kept_gate, dgate, h2);
    accumulate(kept_up, dup, h2);
    multiply_reverse(n.gate, dgate, dh);
    multiply_reverse(n.up, dup, part);
    add(exec_, part, dh);
    rms_norm_reverse(exec_, x1_.view(rows(), c.hidden), gain2.view(c.hidden), c.norm_epsilon, dh,
                     dy);

    const matrix dmixed = dmixed_.view(rows(), q_columns);
    const matrix dq = dq_.view(rows(), q_columns);
    const matrix dk = dk_.view(rows(), kv_columns);
    const matrix dv = dv_.view(rows(), kv_columns);
    const matrix h1 = h1_.view(rows(), c.hidden);
    const auto turns = turns_.view(positions_, c.head_size);
    multiply_reverse(n.output, dy, dmixed);
    accumulate(kept_o, dy, mixed_.view(rows(), q_columns));
    attention_reverse(
        exec_, {by_heads(q_, c.heads), by_heads(k_, c.kv_heads), by_heads(v_, c.kv_heads),
                by_heads(dmixed_, c.heads), by_heads(dq_, c.heads), by_heads(dk_, c.kv_heads),
                by_heads(dv_, c.kv_heads),
                scores_.view(scores_.size() / (2 * positions_), 2, positions_)
                    .rows(0, group_->samples() * c.kv_heads),
                batch_.layout(), first_segments_.view(group_->samples() + 1)});
    rotary(exec_, dq, batch_.positions(), turns, -1.0f, pairs());
    rotary(exec_, dk, batch_.positions(), turns, -1.0f, pairs());
    accumulate(kept_q, dq, h1);
    accumulate(kept_k, dk, h1);
    accumulate(kept_v, dv, h1);
    multiply_reverse(n.query, dq, dh);
    multiply_reverse(n.key, dk, part);
    add(exec_, part, dh);
    multiply_reverse(n.value, dv, part);
    add(exec_, part, dh);
    rms_norm_reverse(exec_, input(l), gain1.view(c.hidden), c.norm_epsilon, dh, dy);
  }

  // Adds the gradient of the loaded group, dy^T x: of every sample squared, or of all together.
  void accumulate(kept which, tensor_view<const float, 2> dy, tensor_view<const float, 2> x) {
    const index_t size = dy.shape[1] * x.shape[1];
    memory& sum = sums_[which];
    if (sum.size() == 0) {
      sum = exec_.template allocate<float>(size);
    }
    const bool squared = options_.form == gradient_form::mean_square;
    const index_t pieces = squared ? group_->samples() : 1;
    for (index_t s = 0; s < pieces; ++s) {
      const index_t first = group_->row(s);
      const index_t n = group_->row(squared ? s + 1 : group_->samples()) - first;
      exec_.linear_to_weight(dy.rows(first, n), x.rows(first, n),
                             weight_gradient_.view(dy.shape[1], x.shape[1]));
      exec_.for_each((size + run_length - 1) / run_length,
                     add_gradient_run{weight_gradient_.data(), 1.0f / static_cast<float>(count_),
                                      squared, sum.data(), size});
    }
  }

  void visit_layer(index_t l, gradient_visitor visit) {
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

}  // namespace zoq
