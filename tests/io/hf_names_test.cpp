// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/hf_names.hpp"

#include <doctest/doctest.h>

#include <string>

using zoq::hf_place;
using zoq::hf_places;

TEST_CASE("hf_names: tensors of the three families, and of none") {
  const auto only = [](const char* family, const char* name) {
    const auto places = hf_places(family, name);
    return places && places->size() == 1 ? (*places)[0].name : std::string("none, or more");
  };
  CHECK(only("llama", "model.layers.12.self_attn.q_proj.weight") == "blk.12.attn_q.weight");
  CHECK(only("llama", "model.embed_tokens.weight") == "token_embd.weight");
  CHECK(only("llama", "lm_head.weight") == "output.weight");
  CHECK(only("gpt2", "h.3.mlp.c_fc.bias") == "blk.3.ffn_up.bias");
  CHECK(only("gpt2", "transformer.wpe.weight") == "position_embd.weight");
  CHECK(only("openelm", "transformer.layers.0.attn.k_norm.weight") == "blk.0.attn_k_norm.weight");
  CHECK((*hf_places("gpt2", "h.0.attn.c_attn.weight"))[0].what == hf_place::take::transposed);
  CHECK((*hf_places("gpt2", "h.0.attn.c_attn.bias"))[0].what == hf_place::take::all);
  CHECK(hf_places("openelm", "transformer.layers.0.ffn.proj_1.weight")->size() == 2);
  CHECK(hf_places("gpt2", "h.0.attn.masked_bias")->empty());
  for (const char* name :
       {"", "weight", "model.layers.", "model.layers.1", "model.layers.1.weight",
        "model.layers.x.mlp.up_proj.weight", "model.norm.gain", "h.0.ln_1.weight",
        "model.layers.-1.mlp.up_proj.weight", "transformer.lm_head.weight"}) {
    CAPTURE(name);
    CHECK_FALSE(hf_places("llama", name).has_value());
  }
}
