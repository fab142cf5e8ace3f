// One layer of the reverse pass of a Llama: how it runs forward, keeping what its reverse needs, and in
// reverse. Part of llama_reverse.hpp, which includes it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/reverse.hpp"
#include "zoq/ops/rotary.hpp"

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
void llama_reverse<X>::forward_layer(index_t l, matrix x, matrix output) {
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

template <executor X>
void llama_reverse<X>::reverse_layer(index_t l) {
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
  swiglu_reverse(exec_, gate_.view(rows(), c.feed_forward), up_.view(rows(), c.feed_forward), dact,
                 dgate, dup);
  accumulate(kept_gate, dgate, h2);
  accumulate(kept_up, dup, h2);
  multiply_reverse(n.gate, dgate, dh);
  multiply_reverse(n.up, dup, part);
  add(exec_, part, dh);
  rms_norm_reverse(exec_, x1_.view(rows(), c.hidden), gain2.view(c.hidden), c.norm_epsilon, dh, dy);

  const matrix dmixed = dmixed_.view(rows(), q_columns);
  const matrix dq = dq_.view(rows(), q_columns);
  const matrix dk = dk_.view(rows(), kv_columns);
  const matrix dv = dv_.view(rows(), kv_columns);
  const matrix h1 = h1_.view(rows(), c.hidden);
  const auto turns = turns_.view(positions_, c.head_size);
  multiply_reverse(n.output, dy, dmixed);
  accumulate(kept_o, dy, mixed_.view(rows(), q_columns));
  attention_reverse(exec_,
                    {by_heads(q_, c.heads), by_heads(k_, c.kv_heads), by_heads(v_, c.kv_heads),
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

template <executor X>
void llama_reverse<X>::accumulate(kept which, tensor_view<const float, 2> dy,
                                  tensor_view<const float, 2> x) {
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

template <executor X>
void llama_reverse<X>::multiply(index_t tensor, tensor_view<const float, 2> x, matrix y) const {
  linear(exec_, x, weight(tensor), options_.at.on(tensor), {}, y);
}

template <executor X>
void llama_reverse<X>::multiply_reverse(index_t tensor, tensor_view<const float, 2> dy,
                                        matrix dx) const {
  exec_.linear_to_input(dy, weight(tensor), dx);
  if (const parts p = options_.at.on(tensor); p.sparse.has_value()) {
    exec_.for_each(dy.shape[0], overlay_reverse_row{*p.sparse, dy, dx});
  }
}

}  // namespace zoq
