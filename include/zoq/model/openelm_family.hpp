// The family of OpenELM: as Llama, but every layer has sizes of its own, query, key and value are one
// matrix, and the heads of queries and keys are normed before they are turned, by halves.
//
//     q, k, v = W h;   q = rotary(rms_norm(q)), k = rotary(rms_norm(k)) for every head
//
// Mehta et al., "OpenELM", arXiv 2404.14619: fewer heads and a narrower feed-forward layer near the
// input, more near the output. Names and keys: the GGUF format's, architecture "openelm"; head_count,
// head_count_kv and feed_forward_length are arrays with a number for every layer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/model/family.hpp"

namespace zoq {

struct openelm_family {
  static constexpr std::string_view name = "openelm";

  /// Throws, naming file and key, on what is missing or does not fit: here also on
  /// scaled positions.
  static decoder_config config_from(const model_file& file);

  static tensor_list tensors(const decoder_config& c);
};
static_assert(model_family<openelm_family>);

}  // namespace zoq

#if ZOQ_BODIES

#include <utility>
#include <vector>

#include "zoq/io/model_file.hpp"

namespace zoq {

ZOQ_BODY decoder_config openelm_family::config_from(const model_file& file) {
  const family_metadata in(file, name);
  decoder_config c;
  c.family = name;
  c.rotary_halves = true;
  c.layers = in.layers();
  c.hidden = in.size("embedding_length");
  const auto heads = in.sizes("attention.head_count", c.layers);
  const auto kv_heads = in.sizes("attention.head_count_kv", c.layers);
  const auto feed_forward = in.sizes("feed_forward_length", c.layers);
  std::vector<layer_sizes> all;
  for (std::size_t l = 0; l < heads.size(); ++l) {
    all.push_back({heads[l], kv_heads[l], feed_forward[l]});
  }
  c.set_layers(std::move(all));
  c.head_size = in.size("attention.key_length");
  in.read_rotary_and_rms(c);
  return c;
}

ZOQ_BODY tensor_list openelm_family::tensors(const decoder_config& c) {
  using enum tensor_role;
  using in_model = model_numbers;
  using in_layer = layer_numbers;
  tensor_list out;
  out.add("token_embd.weight", embedding, c.vocabulary, c.hidden, &in_model::embedding);
  for (index_t l = 0; l < c.layers; ++l) {
    const layer_sizes s = c.at(l);
    const index_t q = s.heads * c.head_size, kv = s.kv_heads * c.head_size;
    out.add(l, "attn_norm.weight", norm, 1, c.hidden, &in_layer::attention_norm);
    out.add(l, "attn_qkv.weight", linear, q + 2 * kv, c.hidden, &in_layer::query_key_value);
    out.add(l, "attn_q_norm.weight", norm, 1, c.head_size, &in_layer::query_norm);
    out.add(l, "attn_k_norm.weight", norm, 1, c.head_size, &in_layer::key_norm);
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
