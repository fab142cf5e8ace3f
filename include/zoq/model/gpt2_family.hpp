// The family of GPT-2: layer norms, learned positions, one matrix for query, key and value, GELU,
// biases everywhere but on embedding and head.
//
//     x = embedding[token] + position[p]
//     h = layer_norm(x);  x += O attention(Q h + q, K h + k, V h + v) + o
//     h = layer_norm(x);  x += D gelu(U h + u) + d
//
// Radford et al., "Language Models are Unsupervised Multitask Learners", 2019. Names and keys: the
// GGUF format's, architecture "gpt2".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/model/family.hpp"

namespace zoq {

struct gpt2_family {
  static constexpr std::string_view name = "gpt2";

  /// Throws, naming file and key, on what is missing or does not fit: here also on heads
  /// that share keys and values.
  static decoder_config config_from(const model_file& file);

  static tensor_list tensors(const decoder_config& c);
};
static_assert(model_family<gpt2_family>);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

ZOQ_BODY decoder_config gpt2_family::config_from(const model_file& file) {
  const family_metadata in(file, name);
  decoder_config c;
  c.family = name;
  c.norms = norm_kind::layer;
  c.positions = position_kind::learned;
  c.activation = activation_kind::gelu;
  c.layers = in.layers();
  c.hidden = in.size("embedding_length");
  c.heads = c.kv_heads = in.size("attention.head_count");
  require(c.hidden % c.heads == 0, file.path(), ": ", in.key("attention.head_count"), " is ",
          c.heads, ", no divisor of the ", c.hidden, " columns");
  require(in.size("attention.head_count_kv", c.heads) == c.heads, file.path(), ": ",
          in.key("attention.head_count_kv"), " is ", in.size("attention.head_count_kv", 0),
          ", wanted as many as heads: ", c.heads);
  c.head_size = c.hidden / c.heads;
  c.feed_forward = in.size("feed_forward_length");
  c.context = in.size("context_length");
  c.vocabulary = file.matrix("token_embd.weight").rows();
  c.norm_epsilon = static_cast<float>(in.number("attention.layer_norm_epsilon"));
  c.validate(file.path());
  return c;
}

ZOQ_BODY tensor_list gpt2_family::tensors(const decoder_config& c) {
  using enum tensor_role;
  using in_model = model_numbers;
  using in_layer = layer_numbers;
  const index_t fused = (c.heads + 2 * c.kv_heads) * c.head_size, f = c.feed_forward;
  tensor_list out;
  out.add("token_embd.weight", embedding, c.vocabulary, c.hidden, &in_model::embedding);
  out.add("position_embd.weight", position, c.context, c.hidden, &in_model::positions);
  for (index_t l = 0; l < c.layers; ++l) {
    out.add(l, "attn_norm.weight", norm, 1, c.hidden, &in_layer::attention_norm);
    out.add(l, "attn_norm.bias", bias, 1, c.hidden, &in_layer::attention_norm_bias);
    out.add(l, "attn_qkv.weight", linear, fused, c.hidden, &in_layer::query_key_value);
    out.add(l, "attn_qkv.bias", bias, 1, fused, &in_layer::query_key_value_bias);
    out.add(l, "attn_output.weight", linear, c.hidden, c.hidden, &in_layer::output);
    out.add(l, "attn_output.bias", bias, 1, c.hidden, &in_layer::output_bias);
    out.add(l, "ffn_norm.weight", norm, 1, c.hidden, &in_layer::feed_forward_norm);
    out.add(l, "ffn_norm.bias", bias, 1, c.hidden, &in_layer::feed_forward_norm_bias);
    out.add(l, "ffn_up.weight", linear, f, c.hidden, &in_layer::up);
    out.add(l, "ffn_up.bias", bias, 1, f, &in_layer::up_bias);
    out.add(l, "ffn_down.weight", linear, c.hidden, f, &in_layer::down);
    out.add(l, "ffn_down.bias", bias, 1, c.hidden, &in_layer::down_bias);
  }
  out.add("output_norm.weight", norm, 1, c.hidden, &in_model::output_norm);
  out.add("output_norm.bias", bias, 1, c.hidden, &in_model::output_norm_bias);
  out.add("output.weight", head, c.vocabulary, c.hidden, &in_model::head);
  return out;
}

}  // namespace zoq

#endif
