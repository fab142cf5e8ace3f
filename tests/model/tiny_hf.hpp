// Hugging Face folders of tiny models, as their own tools write them.
//
//     zoq::test::tiny_hf folder(zoq::test::tiny_llama({.format = "bf16"}));
//     folder.config["rope_theta"] = 500000;     // and `tensors` and `tokenizer` may be changed
//     folder.write(path, 2);                    // in two shards, with an index
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "io/tiny_vocabulary.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/io/safetensors.hpp"

namespace zoq::test {

/// The row of a Hugging Face query or key that is row `o` of GGUF's: neighbours there are D / 2 apart
/// here.
inline index_t hf_row(index_t o, index_t head_size) {
  const index_t in_head = o % head_size;
  return o - in_head + in_head / 2 + in_head % 2 * (head_size / 2);
}

/// tokenizer.json of a vocabulary, cut as the kind `pre` of io/pre_tokenizer.hpp does.
inline nlohmann::json tokenizer_json(const tiny_vocabulary& words, const std::string& pre) {
  const auto byte_level = [](bool own) {
    return nlohmann::json{{"type", "ByteLevel"},
                          {"add_prefix_space", false},
                          {"trim_offsets", true},
                          {"use_regex", own}};
  };
  const auto sequence = [](const nlohmann::json& first, const nlohmann::json& second) {
    return nlohmann::json{{"type", "Sequence"},
                          {"pretokenizers", nlohmann::json::array({first, second})}};
  };
  const auto split = [](const std::string& digits) {
    const std::string expression =
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + digits +
        R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    return nlohmann::json{{"type", "Split"},
                          {"pattern", {{"Regex", expression}}},
                          {"behavior", "Isolated"},
                          {"invert", false}};
  };
  nlohmann::json out = {{"version", "1.0"},
                        {"added_tokens", nlohmann::json::array()},
                        {"normalizer", nullptr},
                        {"post_processor", nullptr},
                        {"model",
                         {{"type", "BPE"},
                          {"dropout", nullptr},
                          {"continuing_subword_prefix", nullptr},
                          {"byte_fallback", false},
                          {"ignore_merges", pre == "llama-bpe"},
                          {"vocab", nlohmann::json::object()},
                          {"merges", nlohmann::json::array()}}}};
  out["pre_tokenizer"] =
      pre == "gpt-2" ? byte_level(true)
      : pre == "smollm"
          ? sequence({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true))
          : sequence(split(pre == "qwen2" ? "" : "{1,3}"), byte_level(false));
  for (std::size_t id = 0; id < words.tokens.size(); ++id) {
    if (words.types[id] == 1) {
      out["model"]["vocab"][words.tokens[id]] = id;
    } else {
      out["added_tokens"].push_back({{"id", id},
                                     {"content", words.tokens[id]},
                                     {"lstrip", false},
                                     {"rstrip", false},
                                     {"single_word", false},
                                     {"normalized", false},
                                     {"special", words.types[id] == 3}});
    }
  }
  for (const std::string& merge : words.merges) {
    const std::size_t space = merge.find(' ', 1);
    if (out["model"]["merges"].size() % 2 == 0) {  // both ways of writing them
      out["model"]["merges"].push_back(merge);
    } else {
      out["model"]["merges"].push_back({merge.substr(0, space), merge.substr(space + 1)});
    }
  }
  return out;
}

class tiny_hf {
 public:
  struct tensor {
    std::string name, dtype;
    std::vector<index_t> shape;
    std::vector<std::byte> bytes;
  };

  nlohmann::json config, tokenizer, tokenizer_config;  // the last two: none unless set
  std::vector<tensor> tensors;

  tiny_hf() = default;

  /// The same model, in float formats.
  explicit tiny_hf(const tiny_llama& tiny) {
    const llama_config& c = tiny.config;
    bool tied = true;
    for (const tiny_llama::tensor& t : tiny.tensors) {
      tied = tied && t.role != tensor_role::head;
      const auto& w = t.weight.view;
      tensor one{hf_name(t.name), dtype_of_format(w.format().name),
                 t.role == tensor_role::norm ? std::vector<index_t>{w.columns()}
                                             : std::vector<index_t>{w.rows(), w.columns()},
                 *t.weight.bytes};
      if (t.name.find("attn_q.") != std::string::npos ||
          t.name.find("attn_k.") != std::string::npos) {
        const auto row = t.weight.bytes->size() / static_cast<std::size_t>(w.rows());
        for (index_t o = 0; o < w.rows(); ++o) {
          std::memcpy(one.bytes.data() + static_cast<std::size_t>(hf_row(o, c.head_size)) * row,
                      t.weight.bytes->data() + static_cast<std::size_t>(o) * row, row);
        }
      }
      tensors.push_back(std::move(one));
    }
    config = {{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"hidden_act", "silu"},
              {"hidden_size", c.hidden},
              {"intermediate_size", c.feed_forward},
              {"num_hidden_layers", c.layers},
              {"num_attention_heads", c.heads},
              {"num_key_value_heads", c.kv_heads},
              {"max_position_embeddings", c.context},
              {"rms_norm_eps", static_cast<double>(c.norm_epsilon)},
              {"rope_theta", c.rope_base},
              {"rope_scaling", nullptr},
              {"tie_word_embeddings", tied},
              {"vocab_size", c.vocabulary}};
    if (c.head_size * c.heads != c.hidden) {
      config["head_dim"] = c.head_size;
    }
  }

  tensor& named(const std::string& name) {
    for (tensor& t : tensors) {
      if (t.name == name) {
        return t;
      }
    }
    fail("test: no tensor ", name);
  }

  /// A tokenizer of single bytes, with tokens that no text has up to the vocabulary's size.
  void add_bytes() {
    tiny_vocabulary words;
    while (words.tokens.size() < config["vocab_size"].get<std::size_t>()) {
      words.special("<unused" + std::to_string(words.tokens.size()) + ">", 3);
    }
    tokenizer = tokenizer_json(words, "smollm");
  }

  /// One file, or some with an index.
  void write(const std::string& folder, std::size_t shards = 1) const {
    std::filesystem::create_directories(folder);
    put(folder + "/config.json", config.dump());
    if (!tokenizer.is_null()) {
      put(folder + "/tokenizer.json", tokenizer.dump());
    }
    if (!tokenizer_config.is_null()) {
      put(folder + "/tokenizer_config.json", tokenizer_config.dump());
    }
    nlohmann::json index = {{"metadata", nlohmann::json::object()}};
    for (std::size_t s = 0; s < shards; ++s) {
      const std::string name = shards == 1 ? "model.safetensors"
                                           : "model-0000" + std::to_string(s + 1) + "-of-0000" +
                                                 std::to_string(shards) + ".safetensors";
      std::vector<safetensor> part;
      for (std::size_t i = s; i < tensors.size(); i += shards) {
        const tensor& t = tensors[i];
        part.push_back({t.name, t.dtype, t.shape, t.bytes});
        index["weight_map"][t.name] = name;
      }
      write_safetensors(folder + "/" + name, part, {{"format", "pt"}});
    }
    if (shards > 1) {
      put(folder + "/model.safetensors.index.json", index.dump());
    }
  }

  /// "blk.3.attn_q.weight" of a Llama is "model.layers.3.self_attn.q_proj.weight".
  static std::string hf_name(const std::string& name) {
    static const std::map<std::string, std::string> known = {
        {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
        {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"},       {"token_embd", "model.embed_tokens"},
        {"output_norm", "model.norm"},       {"output", "lm_head"}};
    const std::string body = name.substr(0, name.rfind('.'));
    if (!body.starts_with("blk.")) {
      return known.at(body) + ".weight";
    }
    const std::size_t dot = body.find('.', 4);
    return "model.layers." + body.substr(4, dot - 4) + "." + known.at(body.substr(dot + 1)) +
           ".weight";
  }

 private:
  static std::string dtype_of_format(std::string_view format) {
    return format == "f32" ? "F32" : format == "f16" ? "F16" : "BF16";
  }
};

}  // namespace zoq::test
