// The family of Llama: root-mean-square norms, rotary positions, a gated feed-forward layer, no bias.
//
//     h = rms_norm(x);  x += O attention(rotary(Q h), rotary(K h), V h)
//     h = rms_norm(x);  x += D (silu(G h) * U h)
//
// Touvron et al., "Llama 2", arXiv 2307.09288. Names and keys: the GGUF specification. GGUF keeps the
// rows of Q and K so that rotary pairs are neighbours; a Hugging Face folder does not, and says so by the
// key `zoq.rotary_halves`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/model/family.hpp"

namespace zoq {

struct llama_family {
  static constexpr std::string_view name = "llama";
  static constexpr index_t tensors_per_layer = 9;  // attn_norm to ffn_down

  /// Throws, naming file and key, on what is missing or does not fit: here also on
  /// scaled positions.
  static decoder_config config_from(const model_file& file);

  static tensor_list tensors(const decoder_config& c);
};
static_assert(model_family<llama_family>);

/// The numbers of the nine tensors of layer l of any Llama.
[[nodiscard]] constexpr layer_numbers llama_layer(index_t l) {
  const index_t first = 1 + l * llama_family::tensors_per_layer;
  layer_numbers n;
  n.attention_norm = first;
  n.query = first + 1;
  n.key = first + 2;
  n.value = first + 3;
  n.output = first + 4;
  n.feed_forward_norm = first + 5;
  n.gate = first + 6;
  n.up = first + 7;
  n.down = first + 8;
  return n;
}

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/io/model_file.hpp"

namespace zoq {

ZOQ_BODY decoder_config llama_family::config_from(const model_file& file) {
  const family_metadata in(file, name);
  decoder_config c;
  c.family = name;
  c.layers = in.layers();
  c.hidden = in.size("embedding_length");
  c.heads = in.size("attention.head_count");
  c.kv_heads = in.size("attention.head_count_kv", c.heads);
  c.head_size = in.size("attention.key_length", c.hidden / c.heads);
  c.feed_forward = in.size("feed_forward_length");
  // A reader's own key: Hugging Face keeps the two coordinates of a pair half a head apart.
  c.rotary_halves = file.has("zoq.rotary_halves") && file.get_bool("zoq.rotary_halves");
  in.read_rotary_and_rms(c);
  return c;
}

ZOQ_BODY tensor_list llama_family::tensors(const decoder_config& c) {
  using enum tensor_role;
  using in_model = model_numbers;
  using in_layer = layer_numbers;
  tensor_list out;
  out.add("token_embd.weight", embedding, c.vocabulary, c.hidden, &in_model::embedding);
  for (index_t l = 0; l < c.layers; ++l) {
    const layer_sizes s = c.at(l);
    const index_t q = s.heads * c.head_size, kv = s.kv_heads * c.head_size;
    out.add(l, "attn_norm.weight", norm, 1, c.hidden, &in_layer::attention_norm);
    out.add(l, "attn_q.weight", linear, q, c.hidden, &in_layer::query);
    out.add(l, "attn_k.weight", linear, kv, c.hidden, &in_layer::key);
    out.add(l, "attn_v.weight", linear, kv, c.hidden, &in_layer::value);
    out.add(l, "attn_output.weight", linear, c.hidden, q, &in_layer::output);
    out.add(l, "ffn_norm.weight", norm, 1, c.hidden, &in_layer::feed_forward_norm);
    out.add(l, "ffn_gate.weight", linear, s.feed_forward, c.hidden, &in_layer::gate);
    out.add(l, "ffn_up.weight", linear, s.feed_forward, c.hidden, &in_layer::up);
    out.add(l, "ffn_down.weight", linear, c.hidden, s.feed_forward, &in_layer::down);
  }
  out.add("output_norm.weight", norm, 1, c.hidden, &in_model::output_norm);
  out.add("output.weight", head, c.vocabulary, c.hidden, &in_model::head);
  return out;
}

}  // namespace zoq

#endif
