// One layer of the stream of a decoder. Part of decoder_stream.hpp, which includes it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/model/decoder_stream.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/ops/gains.hpp"
#include "zoq/ops/gelu.hpp"
#include "zoq/ops/layer_norm.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/ops/rows.hpp"

namespace zoq {

template <executor X>
void decoder_stream<X>::layer(index_t l, const keys_and_values& seen,
                              const branch_parts& branches) {
  const decoder_config& c = model_.config();
  const layer_numbers& n = model_.layer(l);
  const layer_sizes s = c.at(l);
  const bool last = l + 1 == c.layers;
  const auto at = last ? batch_.read_rows() : batch_.all_rows();
  const index_t active = branches.count * at.shape[0];
  const index_t all = branches.count * batch_.rows();

  attention_inputs(l, seen, branches, last);
  const matrix x = x_.view(active, c.hidden);
  const matrix h = h_.view(active, c.hidden);
  attention(exec_, q_.view(active, s.heads, c.head_size), seen.k.view(all, s.kv_heads, c.head_size),
            seen.v.view(all, s.kv_heads, c.head_size), at, batch_.layout(),
            mixed_.view(active, s.heads, c.head_size));
  multiply(branches, mixed_.view(active, s.heads * c.head_size), {{n.output, h}});
  bias(branches, n.output_bias, h);
  add(exec_, h, x);

  norm(branches, n.feed_forward_norm, n.feed_forward_norm_bias, x, h);
  const matrix up = up_.view(active, s.feed_forward);
  if (c.activation == activation_kind::swiglu) {
    const matrix gate = gate_.view(active, s.feed_forward);
    multiply(branches, h, {{n.gate, gate}, {n.up, up}});
    swiglu(exec_, gate, up);
    multiply(branches, gate, {{n.down, h}});
  } else {
    multiply(branches, h, {{n.up, up}});
    bias(branches, n.up_bias, up);
    gelu(exec_, up);
    multiply(branches, up, {{n.down, h}});
  }
  bias(branches, n.down_bias, h);
  add(exec_, h, x);
}

template <executor X>
void decoder_stream<X>::attention_inputs(index_t l, const keys_and_values& seen,
                                         const branch_parts& branches, bool last) {
  const decoder_config& c = model_.config();
  const layer_numbers& n = model_.layer(l);
  const layer_sizes s = c.at(l);
  const index_t rows = branches.count * batch_.stream_rows();
  const index_t all = branches.count * batch_.rows();
  const index_t active = last ? branches.count * batch_.read_row_count() : rows;
  const index_t q_columns = s.heads * c.head_size;
  const index_t kv_columns = s.kv_heads * c.head_size;
  const matrix h_all = h_.view(rows, c.hidden);
  const matrix q = q_.view(active, q_columns);
  const matrix k = seen.k.view(all, kv_columns).rows(batch_.first(), rows);
  const matrix v = seen.v.view(all, kv_columns).rows(batch_.first(), rows);

  norm(branches, n.attention_norm, n.attention_norm_bias, x_.view(rows, c.hidden), h_all);
  if (n.query_key_value >= 0) {
    const matrix fused = fused_.view(rows, q_columns + 2 * kv_columns);
    multiply(branches, h_all, {{n.query_key_value, fused}});
    bias(branches, n.query_key_value_bias, fused);
    const auto read = last ? batch_.read_places() : tensor_view<const std::int32_t, 1>{};
    take_columns(exec_, fused, read, branches.count, 0, q);
    take_columns(exec_, fused, {}, branches.count, q_columns, k);
    take_columns(exec_, fused, {}, branches.count, q_columns + kv_columns, v);
  } else if (last) {
    multiply(branches, h_all, {{n.key, k}, {n.value, v}});
  } else {
    multiply(branches, h_all, {{n.query, q}, {n.key, k}, {n.value, v}});
  }
  bias(branches, n.key_bias, k);
  bias(branches, n.value_bias, v);
  norm_heads(branches, n.key_norm, k);
  if (!branches.prefix.empty() && batch_.first() == 0) {
    const prefix_part& before = branches.prefix[static_cast<std::size_t>(l)];
    put_rows(exec_, before.key, before.rows, branches.count, k);
    put_rows(exec_, before.value, before.rows, branches.count, v);
  }
  turn(k, batch_.positions());

  if (last) {
    keep_read_rows(branches.count, x_);
    if (n.query_key_value < 0) {
      keep_read_rows(branches.count, h_);
      multiply(branches, h_.view(active, c.hidden), {{n.query, q}});
    }
  }
  bias(branches, n.query_bias, q);
  norm_heads(branches, n.query_norm, q);
  turn(q, last ? batch_.read_positions() : batch_.positions());
}

template <executor X>
void decoder_stream<X>::turn(matrix x, tensor_view<const std::int32_t, 1> positions) const {
  const decoder_config& c = model_.config();
  if (c.positions == position_kind::rotary) {
    rotary(exec_, x, positions, turns_.view(turns_.size() / c.head_size, c.head_size), 1.0f,
           c.rotary_halves ? rotary_pairs::halves : rotary_pairs::neighbours);
  }
}

template <executor X>
void decoder_stream<X>::norm(const branch_parts& branches, index_t gain, index_t plus,
                             tensor_view<const float, 2> x, matrix y) {
  const decoder_config& c = model_.config();
  const auto by = vector(gain, branches, own_gain_);
  if (c.norms == norm_kind::rms) {
    rms_norm_of_branches(exec_, x, by, c.norm_epsilon, y);
  } else {
    layer_norm(exec_, x, by, vector(plus, branches, own_bias_), c.norm_epsilon, y);
  }
}

template <executor X>
void decoder_stream<X>::norm_heads(const branch_parts& branches, index_t gain, matrix x) {
  if (gain >= 0) {
    const index_t size = model_.config().head_size;
    const matrix heads{x.data, {x.size() / size, size}};
    rms_norm_of_branches(exec_, heads, vector(gain, branches, own_gain_),
                         model_.config().norm_epsilon, heads);
  }
}

template <executor X>
void decoder_stream<X>::bias(const branch_parts& branches, index_t tensor, matrix y) {
  if (tensor >= 0) {
    add_bias(exec_, vector(tensor, branches, own_bias_), y);
  }
}

template <executor X>
tensor_view<const float, 2> decoder_stream<X>::vector(index_t tensor, const branch_parts& branches,
                                                      memory& own) {
  const memory& base = vectors_[static_cast<std::size_t>(tensor)];
  const parts added = branches.on(tensor);
  if (added.empty()) {
    return {base.data(), {1, base.size()}};
  }
  own.reserve(branches.count * base.size());
  const matrix out = own.view(branches.count, base.size());
  gains(exec_, weights_[tensor], added, branches.count, out);
  return out;
}

template <executor X>
void decoder_stream<X>::keep_read_rows(index_t branches, memory& x) {
  const index_t columns = model_.config().hidden;
  gather_rows(exec_, x.view(branches * batch_.stream_rows(), columns), batch_.read_places(),
              branches, mixed_.view(branches * batch_.read_row_count(), columns));
  std::swap(x, mixed_);
}

template <executor X>
void decoder_stream<X>::multiply(const branch_parts& branches, tensor_view<const float, 2> x,
                                 std::initializer_list<product> products) const {
  linear_targets targets;
  for (const product& p : products) {
    const model_tensor& t = model_.tensor(p.tensor);
    targets.add({weights_[p.tensor], branches.on(p.tensor), p.y, t.name});
  }
  linear(exec_, x, branches.stack(), targets);
}

}  // namespace zoq
