// What a Hugging Face folder holds beside tensors, made from a GGUF file's metadata: config.json,
// tokenizer.json and tokenizer_config.json. The reverse of io/hf_config.hpp and io/hf_tokenizer.hpp.
//
//     nlohmann::ordered_json config = zoq::hf_config_of(file, tied, "float32");
//     if (zoq::has_hf_tokenizer(file)) { zoq::hf_tokenizer_of(file);  zoq::hf_tokenizer_config_of(file); }
//
// Keys and their meaning: the classes LlamaConfig, GPT2Config and PreTrainedTokenizerFast of the package
// transformers, and the file format of the package tokenizers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

/// config.json of a Llama or GPT-2 with head, its tensors in `dtype` ("float32"). Throws, naming the file,
/// on another family and on missing keys.
nlohmann::ordered_json hf_config_of(const model_file& file, bool tied, std::string_view dtype);

/// Whether the file has a tokenizer that hf_tokenizer_of can write.
bool has_hf_tokenizer(const model_file& file);

/// tokenizer.json. Throws as tokenizer(file) does.
nlohmann::ordered_json hf_tokenizer_of(const model_file& file);

/// tokenizer_config.json: names of special tokens, and the template of chats.
nlohmann::ordered_json hf_tokenizer_config_of(const model_file& file);

namespace detail {

/// The shortest decimal number that is this float: 1e-05, not 9.999999747378752e-06.
double shortest(double value);

}  // namespace detail
}  // namespace zoq

#if ZOQ_BODIES

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/hf_tokenizer.hpp"
#include "zoq/io/tokenizer.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY double shortest(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + 31, static_cast<float>(value)).ptr;
  *end = '\0';
  return std::strtod(digits, nullptr);
}

ZOQ_BODY std::optional<std::uint64_t> token_id(const model_file& file, const std::string& key) {
  const std::string whole = "tokenizer.ggml." + key + "_token_id";
  return file.has(whole) ? std::optional(file.get_u64(whole)) : std::nullopt;
}

/// The split of Llama 3 and Qwen 2, which differ in how many digits stand together.
ZOQ_BODY nlohmann::ordered_json hf_split(const std::string& digits) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", split_with(digits)}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

ZOQ_BODY nlohmann::ordered_json hf_byte_level(bool own_expression) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", own_expression}};
}

/// The pre_tokenizer of a kind of io/pre_tokenizer.hpp; null for one that is not of hf_tokenizer.hpp's.
ZOQ_BODY nlohmann::ordered_json hf_pre_tokenizer_of(std::string_view kind) {
  using json = nlohmann::ordered_json;
  const auto two = [](json first, json second) {
    return json{{"type", "Sequence"},
                {"pretokenizers", json::array({std::move(first), std::move(second)})}};
  };
  if (kind == "gpt-2") {
    return hf_byte_level(true);
  }
  if (kind == "smollm") {
    return two({{"type", "Digits"}, {"individual_digits", true}}, hf_byte_level(true));
  }
  if (kind == "llama-bpe" || kind == "smaug-bpe") {
    return two(hf_split("{1,3}"), hf_byte_level(false));
  }
  return kind == "qwen2" ? two(hf_split(""), hf_byte_level(false)) : json(nullptr);
}

}  // namespace detail

ZOQ_BODY nlohmann::ordered_json hf_config_of(const model_file& file, bool tied,
                                             std::string_view dtype) {
  const std::string family = file.get_string("general.architecture");
  require(family == "llama" || family == "gpt2", file.path(), ": ", printable(family),
          ": the package transformers has no such model of its own; export to gguf");
  const auto size = [&](const char* key) { return file.get_u64(family + "." + key); };
  const auto size_or = [&](const char* key, std::uint64_t absent) {
    return file.has(family + "." + key) ? size(key) : absent;
  };
  const auto number = [&](const char* key) {
    return detail::shortest(file.get_float(family + "." + key));
  };
  const index_t vocabulary = file.matrix("token_embd.weight").rows();
  nlohmann::ordered_json out;
  if (family == "llama") {
    const std::uint64_t heads = size("attention.head_count"), hidden = size("embedding_length");
    out = {{"architectures", {"LlamaForCausalLM"}},
           {"model_type", "llama"},
           {"vocab_size", vocabulary},
           {"hidden_size", hidden},
           {"intermediate_size", size("feed_forward_length")},
           {"num_hidden_layers", size("block_count")},
           {"num_attention_heads", heads},
           {"num_key_value_heads", size_or("attention.head_count_kv", heads)},
           {"head_dim", size_or("attention.key_length", hidden / heads)},
           {"max_position_embeddings", size("context_length")},
           {"rms_norm_eps", number("attention.layer_norm_rms_epsilon")},
           {"rope_theta", file.has("llama.rope.freq_base") ? number("rope.freq_base") : 10000.0},
           {"rope_scaling", nullptr},
           {"hidden_act", "silu"},
           {"attention_bias", false},
           {"mlp_bias", false}};
  } else {
    out = {{"architectures", {"GPT2LMHeadModel"}},
           {"model_type", "gpt2"},
           {"vocab_size", vocabulary},
           {"n_embd", size("embedding_length")},
           {"n_inner", size("feed_forward_length")},
           {"n_layer", size("block_count")},
           {"n_head", size("attention.head_count")},
           {"n_positions", size("context_length")},
           {"layer_norm_epsilon", number("attention.layer_norm_epsilon")},
           {"activation_function", "gelu_new"}};
  }
  for (const char* key : {"bos", "eos"}) {
    if (const auto id = detail::token_id(file, key)) {
      out[std::string(key) + "_token_id"] = *id;
    }
  }
  out["tie_word_embeddings"] = tied;
  out["torch_dtype"] = dtype;
  return out;
}

ZOQ_BODY bool has_hf_tokenizer(const model_file& file) {
  return file.has("tokenizer.ggml.model") && file.get_string("tokenizer.ggml.model") == "gpt2" &&
         file.has("tokenizer.ggml.pre") &&
         !detail::hf_pre_tokenizer_of(file.get_string("tokenizer.ggml.pre")).is_null();
}

ZOQ_BODY nlohmann::ordered_json hf_tokenizer_of(const model_file& file) {
  using json = nlohmann::ordered_json;
  const tokenizer words(file);
  const std::vector<std::string_view> tokens = file.get_strings("tokenizer.ggml.tokens");
  const std::vector<std::int64_t> types = file.get_integers("tokenizer.ggml.token_type");
  json vocabulary = json::object(), added = json::array(), merges = json::array();
  // ordered_json looks a key up among all others; building the list itself is linear.
  auto& entries = vocabulary.get_ref<json::object_t&>();
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    entries.emplace_back(std::string(tokens[id]), id);
    const bool control = types[id] == detail::hf_vocabulary::control;
    if (control || types[id] == detail::hf_vocabulary::user_defined) {
      added.push_back({{"id", id},
                       {"content", tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", control}});
    }
  }
  for (const std::string_view merge : file.get_strings("tokenizer.ggml.merges")) {
    merges.push_back(merge);
  }
  json ends = nullptr;
  if (words.adds_bos() || words.adds_eos()) {
    json single = json::array(), special = json::object();
    const auto add = [&](token_t id) {
      const std::string name(tokens[static_cast<std::size_t>(id)]);
      single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
      special[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
    };
    if (words.adds_bos()) {
      add(words.bos());
    }
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    if (words.adds_eos()) {
      add(words.eos());
    }
    json pair = single;
    pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
    ends = {{"type", "TemplateProcessing"},
            {"single", single},
            {"pair", pair},
            {"special_tokens", special}};
  }
  const std::string kind = file.get_string("tokenizer.ggml.pre");
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", detail::hf_pre_tokenizer_of(kind)},
          {"post_processor", ends},
          {"decoder", detail::hf_byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", kind == "llama-bpe"},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

ZOQ_BODY nlohmann::ordered_json hf_tokenizer_config_of(const model_file& file) {
  const std::vector<std::string_view> tokens = file.get_strings("tokenizer.ggml.tokens");
  nlohmann::ordered_json out = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                {"clean_up_tokenization_spaces", false}};
  for (const auto& [key, name] :
       {std::pair("bos", "bos_token"), std::pair("eos", "eos_token"),
        std::pair("unknown", "unk_token"), std::pair("padding", "pad_token")}) {
    if (const auto id = detail::token_id(file, key); id && *id < tokens.size()) {
      out[name] = tokens[static_cast<std::size_t>(*id)];
    }
  }
  if (file.has("tokenizer.chat_template")) {
    out["chat_template"] = file.get_string("tokenizer.chat_template");
  }
  return out;
}

}  // namespace zoq

#endif
