// The reverse pass of a Llama-family model, layer by layer, for offline scores of its weights.
//
//     zoq::llama_reverse pass(exec, model);
//     double loss = pass.squared_gradients(windows, visit, progress);
//     // visit(name, rows, columns, span of mean over windows of (d loss / d w)^2)
//
// The loss of a window is the mean next-token loss. A forward pass keeps the input of every s-th
// layer, s near the root of their number. Then, from the last run of s layers down, the inputs of the
// run's layers are computed again; and from its last layer down, a layer with all that its reverse
// needs, and only the squares of its seven matrices exist at a time. Memory: about 2 sqrt(layers) *
// windows * length * hidden floats, and a layer's squares. Cost: about six forward passes. Keeping
// some inputs and computing others again: Chen et al., arXiv 1604.06174.
// Tuning never includes this header.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/model/batch.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/model/resident.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/ops/embedding.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/reverse.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

/// sum[i] += g[i]^2 * scale.
struct add_squares_run {
  const float* g;
  float scale;
  float* sum;
  index_t n;
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * run_length;
    const index_t end = begin + run_length < n ? begin + run_length : n;
    for (index_t i = begin; i < end; ++i) {
      sum[i] += g[i] * g[i] * scale;
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

  /// windows: token ids, all of one length of at least 2. Calls visit(name, rows, columns, squares)
  /// for every matrix of a linear layer, last layer first; `progress(done, all)` after each piece
  /// of work. Returns the mean loss. Throws on a token outside the vocabulary.
  template <class Visit, class Progress>
  double squared_gradients(std::span<const std::vector<token_t>> windows, Visit&& visit,
                           Progress&& progress) {
    prepare(windows);
    const llama_config& c = model_.config();
    const index_t runs = (c.layers + run_ - 1) / run_;  // whose first inputs are kept
    const index_t work = groups() * (3 * c.layers - runs + 1);
    index_t done = 0;
    for (index_t g = 0; g < groups(); ++g) {
      load(windows, g);
      embed(exec_, batch_.tokens(), weight(model_.embedding()), 1, input(0, g));
      matrix x = input(0, g);
      for (index_t l = 0; l < c.layers; ++l) {
        const memory& passing = l % 2 == 0 ? scratch_c_ : dx_;
        const matrix y = is_kept(l + 1) ? input(l + 1, g) : passing.view(rows(), c.hidden);
        forward_layer(l, x, y);
        x = y;
        progress(++done, work);
      }
    }
    double loss = 0;
    for (index_t g = 0; g < groups(); ++g) {
      load(windows, g);
      loss += reverse_head(g);
      progress(++done, work);
    }
    for (index_t first = (c.layers - 1) / run_ * run_; first >= 0; first -= run_) {
      const index_t last = std::min(first + run_, c.layers) - 1;
      for (index_t l = first; l < last; ++l) {
        inputs_[static_cast<std::size_t>(l + 1)] =
            exec_.template allocate<float>(count_ * length_ * c.hidden);
      }
      for (index_t g = 0; g < groups(); ++g) {
        load(windows, g);
        for (index_t l = first; l < last; ++l) {
          forward_layer(l, input(l, g), input(l + 1, g));
          progress(++done, work);
        }
      }
      for (index_t l = last; l >= first; --l) {
        for (memory& m : squares_) {
          m = memory();
        }
        for (index_t g = 0; g < groups(); ++g) {
          load(windows, g);
          forward_layer(l, input(l, g), scratch_c_.view(rows(), c.hidden));
          reverse_layer(l, g);
          progress(++done, work);
        }
        inputs_[static_cast<std::size_t>(l)] = memory();
        visit_layer(l, visit);
      }
    }
    return loss / static_cast<double>(count_);
  }

 private:
  using memory = buffer<float, typename X::space>;
  using matrix = tensor_view<float, 2>;

  enum kept { kept_q, kept_k, kept_v, kept_o, kept_gate, kept_up, kept_down, kept_count };

  void prepare(std::span<const std::vector<token_t>> windows) {
    const llama_config& c = model_.config();
    require(!windows.empty(), "reverse: no windows");
    count_ = static_cast<index_t>(windows.size());
    length_ = static_cast<index_t>(windows[0].size());
    require(length_ >= 2, "reverse: windows of ", length_, " tokens, wanted at least 2");
    for (const auto& w : windows) {
      require(static_cast<index_t>(w.size()) == length_, "reverse: windows of ", length_, " and ",
              w.size(), " tokens");
    }
    group_ = std::clamp<index_t>(group_rows / length_, 1, count_);
    const index_t rows = group_ * length_;
    const index_t q = c.heads * c.head_size;
    const index_t kv = c.kv_heads * c.head_size;
    const auto take = [&](index_t n) { return exec_.template allocate<float>(n); };
    run_ = static_cast<index_t>(std::ceil(std::sqrt(static_cast<double>(c.layers))));
    inputs_.clear();
    for (index_t l = 0; l <= c.layers; ++l) {  // the last one becomes the stream's gradient
      inputs_.push_back(is_kept(l) ? take(count_ * length_ * c.hidden) : memory());
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
    scores_ = take(group_ * c.kv_heads * 2 * length_);
    const auto table = rotary_table(length_, c.head_size, c.rope_base);
    turns_ = take(length_ * c.head_size);
    exec_.upload(table.data(), turns_.size(), turns_.data());
  }

  // Inputs that the forward pass keeps; those between are computed again, a run of layers at a time.
  [[nodiscard]] bool is_kept(index_t l) const {
    return l % run_ == 0 || l == model_.config().layers;
  }
  [[nodiscard]] index_t groups() const { return (count_ + group_ - 1) / group_; }
  [[nodiscard]] index_t rows() const { return batch_.rows(); }
  [[nodiscard]] index_t windows_in(index_t g) const {
    return std::min(group_, count_ - g * group_);
  }

  void load(std::span<const std::vector<token_t>> windows, index_t g) {
    packing batch;
    targets_.clear();
    for (index_t w = g * group_; w < g * group_ + windows_in(g); ++w) {
      const auto& tokens = windows[static_cast<std::size_t>(w)];
      const index_t s = batch.add(tokens);
      batch.read(s, length_ - 1, 0);
      targets_.insert(targets_.end(), tokens.begin() + 1, tokens.end());
      targets_.push_back(-1);  // nothing follows a window's last token
    }
    batch_.load(exec_, batch, model_.config().vocabulary, model_.config().context);
  }

  // The stream before layer l, rows of group g: [rows, C].
  matrix input(index_t l, index_t g) const {
    const index_t c = model_.config().hidden;
    return inputs_[static_cast<std::size_t>(l)]
        .view(count_ * length_, c)
        .rows(g * group_ * length_, rows());
  }
  // The gradient of the loss towards the stream: lives where the last layer's output was.
  matrix stream_gradient(index_t g) const { return input(model_.config().layers, g); }

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

  // Runs layer l over x, keeps what the reverse needs, and writes its output.
  void forward_layer(index_t l, matrix x, matrix output) {
    const llama_config& c = model_.config();
    const auto n = model_.layer(l);
    const auto turns = turns_.view(length_, c.head_size);
    const index_t q_columns = c.heads * c.head_size;
    const index_t kv_columns = c.kv_heads * c.head_size;
    const matrix h1 = h1_.view(rows(), c.hidden);
    const matrix x1 = x1_.view(rows(), c.hidden);
    const matrix h2 = h2_.view(rows(), c.hidden);
    const memory gain1 = gain(n.attention_norm);
    const memory gain2 = gain(n.feed_forward_norm);
    rms_norm(exec_, x, gain1.view(c.hidden), c.norm_epsilon, h1);
    linear(exec_, h1, weight(n.query), {}, {}, q_.view(rows(), q_columns));
    linear(exec_, h1, weight(n.key), {}, {}, k_.view(rows(), kv_columns));
    linear(exec_, h1, weight(n.value), {}, {}, v_.view(rows(), kv_columns));
    rotary(exec_, q_.view(rows(), q_columns), batch_.positions(), turns, 1.0f, pairs());
    rotary(exec_, k_.view(rows(), kv_columns), batch_.positions(), turns, 1.0f, pairs());
    attention(exec_, by_heads(q_, c.heads), by_heads(k_, c.kv_heads), by_heads(v_, c.kv_heads),
              batch_.all_rows(), batch_.layout(), by_heads(mixed_, c.heads));
    linear(exec_, mixed_.view(rows(), q_columns), weight(n.output), {}, {}, x1);
    add(exec_, x, x1);
    rms_norm(exec_, x1, gain2.view(c.hidden), c.norm_epsilon, h2);
    const matrix gate = gate_.view(rows(), c.feed_forward);
    const matrix up = up_.view(rows(), c.feed_forward);
    const matrix act = act_.view(rows(), c.feed_forward);
    linear(exec_, h2, weight(n.gate), {}, {}, gate);
    linear(exec_, h2, weight(n.up), {}, {}, up);
    copy(exec_, gate, act);
    swiglu(exec_, act, up);
    linear(exec_, act, weight(n.down), {}, {}, output);
    add(exec_, x1, output);
  }

  // From the last layer's output to the gradient of the loss towards it, in place.
  // Returns the sum of the windows' losses.
  double reverse_head(index_t g) {
    const llama_config& c = model_.config();
    const matrix x = stream_gradient(g);
    const matrix h = h1_.view(rows(), c.hidden);
    const matrix dh = dh_.view(rows(), c.hidden);
    const memory final_gain = gain(model_.output_norm());
    rms_norm(exec_, x, final_gain.view(c.hidden), c.norm_epsilon, h);
    constexpr index_t piece = 64;  // rows whose logits exist at a time
    memory logits = exec_.template allocate<float>(std::min(piece, rows()) * c.vocabulary);
    auto normaliser = exec_.template allocate<double>(piece);
    auto losses = exec_.template allocate<double>(rows());
    auto targets = exec_.template allocate<token_t>(rows());
    exec_.upload(targets_.data(), rows(), targets.data());
    for (index_t first = 0; first < rows(); first += piece) {
      const index_t n = std::min(piece, rows() - first);
      const matrix out = logits.view(n, c.vocabulary);
      linear(exec_, h.rows(first, n), weight(model_.head()), {}, {}, out);
      log_normalisers(exec_, out, normaliser.view(n));
      exec_.for_each(n, cross_entropy_reverse_row{out, targets.data() + first,
                                                  1.0f / static_cast<float>(length_ - 1),
                                                  losses.data() + first, normaliser.data()});
      exec_.linear_to_input(out, weight(model_.head()), dh.rows(first, n));
    }
    const matrix dx = dx_.view(rows(), c.hidden);
    clear(exec_, dx);
    rms_norm_reverse(exec_, x, final_gain.view(c.hidden), c.norm_epsilon, dh, dx);
    copy(exec_, dx, x);
    std::vector<double> each(static_cast<std::size_t>(rows()));
    exec_.download(losses.data(), rows(), each.data());
    double sum = 0;
    for (const double loss : each) {
      sum += loss;
    }
    return sum / static_cast<double>(length_ - 1);
  }

  // stream_gradient: towards the output of layer l -> towards its input. Adds the squares.
  void reverse_layer(index_t l, index_t g) {
    const llama_config& c = model_.config();
    const auto n = model_.layer(l);
    const index_t q_columns = c.heads * c.head_size;
    const index_t kv_columns = c.kv_heads * c.head_size;
    const matrix dy = stream_gradient(g);
    const matrix dh = dh_.view(rows(), c.hidden);
    const matrix part = dx_.view(rows(), c.hidden);
    const memory gain1 = gain(n.attention_norm);
    const memory gain2 = gain(n.feed_forward_norm);

    const matrix act = act_.view(rows(), c.feed_forward);
    const matrix dact = dact_.view(rows(), c.feed_forward);
    const matrix dgate = dgate_.view(rows(), c.feed_forward);
    const matrix dup = dup_.view(rows(), c.feed_forward);
    const matrix h2 = h2_.view(rows(), c.hidden);
    exec_.linear_to_input(dy, weight(n.down), dact);
    square(kept_down, dy, act, g);
    swiglu_reverse(exec_, gate_.view(rows(), c.feed_forward), up_.view(rows(), c.feed_forward),
                   dact, dgate, dup);
    square(kept_gate, dgate, h2, g);
    square(kept_up, dup, h2, g);
    exec_.linear_to_input(dgate, weight(n.gate), dh);
    exec_.linear_to_input(dup, weight(n.up), part);
    add(exec_, part, dh);
    rms_norm_reverse(exec_, x1_.view(rows(), c.hidden), gain2.view(c.hidden), c.norm_epsilon, dh,
                     dy);

    const matrix dmixed = dmixed_.view(rows(), q_columns);
    const matrix dq = dq_.view(rows(), q_columns);
    const matrix dk = dk_.view(rows(), kv_columns);
    const matrix dv = dv_.view(rows(), kv_columns);
    const matrix h1 = h1_.view(rows(), c.hidden);
    const auto turns = turns_.view(length_, c.head_size);
    exec_.linear_to_input(dy, weight(n.output), dmixed);
    square(kept_o, dy, mixed_.view(rows(), q_columns), g);
    attention_reverse(
        exec_,
        {by_heads(q_, c.heads), by_heads(k_, c.kv_heads), by_heads(v_, c.kv_heads),
         by_heads(dmixed_, c.heads), by_heads(dq_, c.heads), by_heads(dk_, c.kv_heads),
         by_heads(dv_, c.kv_heads), scores_.view(windows_in(g) * c.kv_heads, 2, length_), length_});
    rotary(exec_, dq, batch_.positions(), turns, -1.0f, pairs());
    rotary(exec_, dk, batch_.positions(), turns, -1.0f, pairs());
    square(kept_q, dq, h1, g);
    square(kept_k, dk, h1, g);
    square(kept_v, dv, h1, g);
    exec_.linear_to_input(dq, weight(n.query), dh);
    exec_.linear_to_input(dk, weight(n.key), part);
    add(exec_, part, dh);
    exec_.linear_to_input(dv, weight(n.value), part);
    add(exec_, part, dh);
    rms_norm_reverse(exec_, input(l, g), gain1.view(c.hidden), c.norm_epsilon, dh, dy);
  }

  // Adds the squared gradient of every window of group g: each window's is dy^T x of its own rows.
  void square(kept which, tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
              index_t g) {
    const index_t size = dy.shape[1] * x.shape[1];
    memory& sum = squares_[which];
    if (sum.size() == 0) {
      sum = exec_.template allocate<float>(size);
    }
    for (index_t w = 0; w < windows_in(g); ++w) {
      exec_.linear_to_weight(dy.rows(w * length_, length_), x.rows(w * length_, length_),
                             weight_gradient_.view(dy.shape[1], x.shape[1]));
      exec_.for_each((size + run_length - 1) / run_length,
                     add_squares_run{weight_gradient_.data(), 1.0f / static_cast<float>(count_),
                                     sum.data(), size});
    }
  }

  template <class Visit>
  void visit_layer(index_t l, Visit&& visit) {
    const auto n = model_.layer(l);
    const index_t numbers[kept_count] = {n.query, n.key, n.value, n.output, n.gate, n.up, n.down};
    std::vector<float> host;
    for (std::size_t i = 0; i < kept_count; ++i) {
      const model_tensor& t = model_.tensor(numbers[i]);
      host.resize(static_cast<std::size_t>(squares_[i].size()));
      exec_.download(squares_[i].data(), squares_[i].size(), host.data());
      visit(t.name, t.weight.rows(), t.weight.columns(), std::span<const float>(host));
    }
  }

  const X& exec_;
  const llama& model_;
  resident_weights<X> weights_;
  device_batch<X> batch_;
  index_t count_ = 0, length_ = 0, group_ = 0;  // windows, tokens of each, windows of a group
  index_t run_ = 1;                             // layers between kept inputs
  std::vector<token_t> targets_;
  std::vector<memory> inputs_;  // before every layer, and after the last: [windows * length, C]
  memory h1_, x1_, h2_, q_, k_, v_, mixed_, gate_, up_, act_;    // a layer's forward pass
  memory dx_, dh_, dq_, dk_, dv_, dmixed_, dgate_, dup_, dact_;  // and its reverse
  memory scratch_c_, weight_gradient_, scores_, turns_;
  memory squares_[kept_count];
};

/// The reverse pass of this model: what a score calls, found by the model's type.
template <executor X>
llama_reverse<X> reverse_of(const X& exec, const llama& model) {
  return llama_reverse<X>(exec, model);
}

}  // namespace zoq
