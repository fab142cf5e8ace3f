// Names of tensors: as a Hugging Face folder has them, and as GGUF files have them.
//
//     zoq::hf_places("llama", "model.layers.3.self_attn.q_proj.weight");   // {{"blk.3.attn_q.weight"}}
//
// Source: the models' own code, and the tables of GGUF's converter (ggml project).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// Where a tensor of a folder goes.
struct hf_place {
  /// What of it: all; all, transposed (stored as [inputs, outputs]); the upper or lower half of its
  /// rows.
  enum class take { all, transposed, upper, lower };

  std::string name;       // in GGUF files
  take what = take::all;  // of the folder's tensor
};

/// Where the tensor of this name goes in a model of the family "llama", "gpt2" or "openelm": most to
/// one place, some that hold no weights to none. Nothing when the family has no such tensor.
std::optional<std::vector<hf_place>> hf_places(std::string_view family, std::string_view name);

/// The reverse: the tensor of a folder that holds the tensor `name` of GGUF files, in a model with its
/// head, and what of it. Nothing when the family has no such tensor.
std::optional<hf_place> hf_source_of(std::string_view family, std::string_view name);

/// The same of a matrix or gain that goes to one place as it is; empty for others.
std::string hf_name_of(std::string_view family, std::string_view name);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>

namespace zoq {

namespace detail {

struct hf_name {
  std::string_view theirs, ours;  // below the layer's prefix; without ".weight" or ".bias"
  hf_place::take what = hf_place::take::all;
};

struct hf_names {
  std::string_view layer;                // prefix of a layer: "model.layers."
  std::vector<hf_name> of_layer, whole;  // `whole`: of the model
  std::vector<std::string_view> unused;  // endings of tensors that hold no weights
};

ZOQ_BODY hf_names hf_names_of(std::string_view family) {
  using enum hf_place::take;
  if (family == "llama") {
    return {"model.layers.",
            {{"input_layernorm", "attn_norm"},
             {"self_attn.q_proj", "attn_q"},
             {"self_attn.k_proj", "attn_k"},
             {"self_attn.v_proj", "attn_v"},
             {"self_attn.o_proj", "attn_output"},
             {"post_attention_layernorm", "ffn_norm"},
             {"mlp.gate_proj", "ffn_gate"},
             {"mlp.up_proj", "ffn_up"},
             {"mlp.down_proj", "ffn_down"}},
            {{"model.embed_tokens", "token_embd"},
             {"model.norm", "output_norm"},
             {"lm_head", "output"}},
            {".rotary_emb.inv_freq"}};
  }
  if (family == "gpt2") {
    return {"h.",
            {{"ln_1", "attn_norm"},
             {"attn.c_attn", "attn_qkv", transposed},
             {"attn.c_proj", "attn_output", transposed},
             {"ln_2", "ffn_norm"},
             {"mlp.c_fc", "ffn_up", transposed},
             {"mlp.c_proj", "ffn_down", transposed}},
            {{"wte", "token_embd"},
             {"wpe", "position_embd"},
             {"ln_f", "output_norm"},
             {"lm_head", "output"}},
            {".attn.bias", ".attn.masked_bias"}};
  }
  return {"layers.",  // openelm
          {{"attn_norm", "attn_norm"},
           {"attn.qkv_proj", "attn_qkv"},
           {"attn.q_norm", "attn_q_norm"},
           {"attn.k_norm", "attn_k_norm"},
           {"attn.out_proj", "attn_output"},
           {"ffn_norm", "ffn_norm"},
           {"ffn.proj_1", "ffn_gate", upper},
           {"ffn.proj_1", "ffn_up", lower},
           {"ffn.proj_2", "ffn_down"}},
          {{"token_embeddings", "token_embd"}, {"norm", "output_norm"}, {"lm_head", "output"}},
          {".inv_freq"}};
}

}  // namespace detail

ZOQ_BODY std::optional<std::vector<hf_place>> hf_places(std::string_view family,
                                                        std::string_view name) {
  const detail::hf_names known = detail::hf_names_of(family);
  if (std::any_of(known.unused.begin(), known.unused.end(),
                  [&](std::string_view ending) { return name.ends_with(ending); })) {
    return std::vector<hf_place>();
  }
  constexpr std::string_view body = "transformer.";  // some folders hold the body alone
  if (family != "llama" && name.starts_with(body)) {
    name.remove_prefix(body.size());
  }
  std::string block;
  if (name.starts_with(known.layer)) {
    const std::size_t end = name.find('.', known.layer.size());
    const std::string_view number = name.substr(0, end).substr(known.layer.size());
    if (end == std::string_view::npos || number.empty() ||
        number.find_first_not_of("0123456789") != std::string_view::npos) {
      return std::nullopt;
    }
    block = "blk." + std::string(number) + ".";
    name.remove_prefix(end + 1);
  }
  const std::string_view ending = name.ends_with(".bias") ? ".bias" : ".weight";
  if (!name.ends_with(ending)) {
    return std::nullopt;
  }
  name.remove_suffix(ending.size());
  std::vector<hf_place> out;
  for (const detail::hf_name& n : block.empty() ? known.whole : known.of_layer) {
    if (n.theirs == name) {
      const bool is_bias = ending == ".bias";  // [outputs] in any case
      out.push_back({block + std::string(n.ours) + std::string(ending),
                     is_bias ? hf_place::take::all : n.what});
    }
  }
  return out.empty() ? std::nullopt : std::optional(out);
}

ZOQ_BODY std::optional<hf_place> hf_source_of(std::string_view family, std::string_view name) {
  const detail::hf_names known = detail::hf_names_of(family);
  constexpr std::string_view block = "blk.";
  const std::string_view ending = name.ends_with(".bias") ? ".bias" : ".weight";
  if (!name.ends_with(ending)) {
    return std::nullopt;
  }
  std::string layer;
  const bool of_layer = name.starts_with(block);
  name.remove_suffix(ending.size());
  if (of_layer) {
    const std::size_t dot = name.find('.', block.size());
    if (dot == std::string_view::npos) {
      return std::nullopt;
    }
    layer.append(known.layer).append(name.substr(0, dot + 1).substr(block.size()));
    name.remove_prefix(dot + 1);
  }
  for (const detail::hf_name& n : of_layer ? known.of_layer : known.whole) {
    if (n.ours == name) {
      const bool in_body = family != "llama" && n.theirs != "lm_head";
      return hf_place{
          (in_body ? "transformer." : "") + layer + std::string(n.theirs) + std::string(ending),
          ending == ".bias" ? hf_place::take::all : n.what};
    }
  }
  return std::nullopt;
}

ZOQ_BODY std::string hf_name_of(std::string_view family, std::string_view name) {
  const std::optional<hf_place> found = hf_source_of(family, name);
  return found && found->what == hf_place::take::all && name.ends_with(".weight") ? found->name
                                                                                  : std::string();
}

}  // namespace zoq

#endif
