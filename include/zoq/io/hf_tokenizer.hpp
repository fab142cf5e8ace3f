// A Hugging Face folder's tokenizer.json as GGUF metadata, which io/tokenizer.hpp reads.
//
//     zoq::set_hf_tokenizer(tokenizer, "folder/tokenizer.json", config, tokenizer_config,
//                           "folder/tokenizer_config.json", vocabulary, out);
//
// Byte-level BPE alone: the parts that change ids (normalizer, pre_tokenizer, model, post_processor,
// added_tokens) must be of a structure that is known here, and what is not is refused by name. The
// kind of pre-tokenizer follows from its structure:
//
//     ByteLevel, with its own expression                      gpt-2
//     Digits (each alone), then such a ByteLevel              smollm
//     Split by Llama 3's expression, then a ByteLevel         llama-bpe, or smaug-bpe without ignore_merges
//     Split by Qwen 2's expression, then a ByteLevel          qwen2
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "zoq/core/config.hpp"
#include "zoq/io/gguf_writer.hpp"

namespace zoq {

/// Sets the tokenizer that was read from `source`; ids of special tokens come from
/// `tokenizer_config` (an empty object if there is none) or `config`. Ids must be below `vocabulary`,
/// the rows of the embedding. Throws, starting with a file's name and naming the key, on anything but
/// byte-level BPE of a known structure.
void set_hf_tokenizer(const nlohmann::json& tokenizer, const std::string& source,
                      const nlohmann::json& config, const std::string& config_source,
                      const nlohmann::json& tokenizer_config,
                      const std::string& tokenizer_config_source, std::uint32_t vocabulary,
                      gguf_writer& out);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/hf_config.hpp"

namespace zoq {

namespace detail {

/// The parts of a pre_tokenizer or post_processor: those of a "Sequence", or it alone.
ZOQ_BODY std::vector<hf_values> hf_steps(const hf_values& in, const char* key, const char* list) {
  std::vector<hf_values> out;
  if (!in.has(key)) {
    return out;
  }
  const std::string where = text(in.source(), ": \"", key, "\"");
  const hf_values whole(in.member(key), where);
  if (whole.string("type", "") != "Sequence") {
    out.push_back(whole);
    return out;
  }
  const nlohmann::json& steps = whole.member(list);
  require(steps.is_array(), where, ": \"", list, "\" is no array");
  for (const nlohmann::json& step : steps) {
    out.emplace_back(step, where);
  }
  return out;
}

/// The expression of a Split that isolates its matches; "" for another step.
ZOQ_BODY std::string split_expression(const hf_values& step) {
  if (step.string("type", "") != "Split") {
    return "";
  }
  step.require_string("behavior", "", "Isolated");
  step.require_flag("invert", false, false);
  const hf_values pattern(step.member("pattern"), step.source());
  return pattern.string("Regex", "");
}

/// The expression of Llama 3 and Qwen 2, who let up to three digits stand together, or one.
ZOQ_BODY std::string split_with(const std::string& digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + digits +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

/// The kind of io/pre_tokenizer.hpp.
ZOQ_BODY std::string hf_pre_tokenizer(const hf_values& in, bool ignores_merges) {
  const std::vector<hf_values> steps = hf_steps(in, "pre_tokenizer", "pretokenizers");
  std::string kinds;
  for (const hf_values& step : steps) {
    kinds += (kinds.empty() ? "" : ", ") + printable(step.string("type", "?"));
  }
  const std::string unknown =
      text(in.source(), ": \"pre_tokenizer\" of ", kinds.empty() ? "no steps" : kinds);
  require(!steps.empty() && steps.back().string("type", "") == "ByteLevel" && steps.size() <= 2,
          unknown, ", wanted ByteLevel, alone or after Digits or Split");
  steps.back().require_flag("add_prefix_space", true, false);
  const bool own = steps.back().flag("use_regex", true);
  if (steps.size() == 1) {
    steps.back().require_flag("use_regex", true, true);
    require(!ignores_merges, unknown, ": \"ignore_merges\" is not known for it");
    return "gpt-2";
  }
  if (steps[0].string("type", "") == "Digits") {
    steps[0].require_flag("individual_digits", false, true);
    steps.back().require_flag("use_regex", true, true);
    require(!ignores_merges, unknown, ": \"ignore_merges\" is not known for it");
    return "smollm";
  }
  const std::string expression = split_expression(steps[0]);
  require(!own && (expression == split_with("{1,3}") || expression == split_with("")), unknown,
          ": the expression \"", printable(expression), "\" is not known");
  if (expression == split_with("")) {
    require(!ignores_merges, unknown, ": \"ignore_merges\" is not known for it");
    return "qwen2";
  }
  return ignores_merges ? "llama-bpe" : "smaug-bpe";
}

/// Tokens put around a text, as a post_processor names them: their ids, or nothing.
struct hf_ends {
  std::optional<std::uint32_t> first, last;
};

ZOQ_BODY hf_ends hf_post_processor(const hf_values& in) {
  hf_ends out;
  for (const hf_values& step : hf_steps(in, "post_processor", "processors")) {
    const std::string type = step.string("type", "");
    if (type == "ByteLevel") {
      continue;  // offsets alone
    }
    require(type == "TemplateProcessing", step.source(), " of type \"", printable(type),
            "\", wanted ByteLevel or TemplateProcessing");
    const nlohmann::json& single = step.member("single");
    require(single.is_array() && single.size() <= 3, step.source(),
            ": \"single\" is no array of up to 3 pieces");
    bool after_text = false;
    for (const nlohmann::json& piece : single) {
      const bool is_text = piece.is_object() && piece.contains("Sequence");
      require(is_text || (piece.is_object() && piece.contains("SpecialToken")), step.source(),
              ": \"single\" has a piece that is neither Sequence nor SpecialToken");
      if (is_text) {
        after_text = true;
        continue;
      }
      const hf_values special(piece.at("SpecialToken"), step.source());
      const std::string name = special.string("id", "");
      const auto& all = step.member("special_tokens");
      const auto found = all.find(name);
      require(found != all.end(), step.source(), ": \"special_tokens\" has no \"", printable(name),
              "\"");
      const hf_values token(*found, step.source());
      const nlohmann::json& ids = token.list("ids", 1);
      require(ids[0].is_number_unsigned() && ids[0].get<std::uint64_t>() < 1u << 31, step.source(),
              ": the id of ", printable(name), " is no whole number");
      auto& end = after_text ? out.last : out.first;
      require(!end.has_value(), step.source(), ": two special tokens at one end");
      end = ids[0].get<std::uint32_t>();
    }
  }
  return out;
}

/// Tokens by id, and their GGUF types.
struct hf_vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::map<std::string, std::uint32_t, std::less<>> ids;

  void add(const std::string& token, const nlohmann::json& id, std::int32_t type,
           std::uint32_t most, const std::string& where) {
    require(id.is_number_unsigned() && id.get<std::uint64_t>() < most, where, ": token \"",
            printable(token), "\" has no id below \"vocab_size\", ", most);
    require(id.get<std::uint64_t>() < most_ids, where, ": token \"", printable(token), "\" has id ",
            id.get<std::uint64_t>(), ", zoq reads up to ", most_ids, " tokens");
    const auto n = id.get<std::uint32_t>();
    if (n >= tokens.size()) {
      tokens.resize(n + 1);
      types.resize(n + 1, unused);
    }
    require(types[n] == unused || tokens[n] == token, where, ": tokens \"", printable(tokens[n]),
            "\" and \"", printable(token), "\" have one id, ", n);
    const auto known = ids.emplace(token, n);
    require(known.second || known.first->second == n, where, ": token \"", printable(token),
            "\" has two ids");
    tokens[n] = token;
    types[n] = type;
  }

  // Memory is taken for all ids below the largest: as many as io/tokenizer.hpp reads.
  static constexpr std::uint64_t most_ids = 1u << 20;
  static constexpr std::int32_t normal = 1, control = 3, user_defined = 4, unused = 5;
};

ZOQ_BODY hf_vocabulary hf_tokens(const hf_values& in, const hf_values& model, std::uint32_t most) {
  hf_vocabulary out;
  const nlohmann::json& vocabulary = model.member("vocab");
  require(vocabulary.is_object(), model.source(), ": \"vocab\" is no JSON object");
  for (const auto& [token, id] : vocabulary.items()) {
    out.add(token, id, hf_vocabulary::normal, most, model.source());
  }
  if (in.has("added_tokens")) {
    const std::string where = in.source() + ": \"added_tokens\"";
    require(in.member("added_tokens").is_array(), where, " is no array");
    for (const nlohmann::json& entry : in.member("added_tokens")) {
      const hf_values token(entry, where);
      const std::string content = token.string("content", "");
      require(!content.empty(), where, ": a token without content");
      for (const char* key : {"lstrip", "rstrip", "single_word"}) {
        require(!token.flag(key, false), where, ": \"", key, "\" of ", printable(content),
                " is not supported");
      }
      out.add(content, token.member("id"),
              token.flag("special", false) ? hf_vocabulary::control : hf_vocabulary::user_defined,
              most, where);
    }
  }
  for (std::size_t n = 0; n < out.tokens.size(); ++n) {
    if (out.types[n] == hf_vocabulary::unused) {
      out.tokens[n] = text("[PAD", n, "]");
    }
  }
  return out;
}

ZOQ_BODY std::vector<std::string> hf_merges(const hf_values& model) {
  const nlohmann::json& merges = model.member("merges");
  require(merges.is_array(), model.source(), ": \"merges\" is no array");
  std::vector<std::string> out;
  for (const nlohmann::json& merge : merges) {
    const bool pair =
        merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    require(pair || merge.is_string(), model.source(), ": merge ", out.size(),
            " is neither a string nor a pair of them");
    out.push_back(pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>()
                       : merge.get<std::string>());
  }
  return out;
}

/// The id of a special token: by name in tokenizer_config.json, else by number in config.json, where
/// the first of a list counts.
ZOQ_BODY std::optional<std::uint32_t> hf_special_id(const hf_values& words, const char* name,
                                                    const hf_values& config, const char* number,
                                                    const hf_vocabulary& vocabulary) {
  if (const nlohmann::json* token = words.find(name)) {
    const nlohmann::json& content =
        token->is_object() && token->contains("content") ? token->at("content") : *token;
    require(content.is_string(), words.source(), ": \"", name, "\" is no string");
    const auto found = vocabulary.ids.find(content.get<std::string>());
    require(found != vocabulary.ids.end(), words.source(), ": \"", name, "\" is \"",
            printable(content.get<std::string>()), "\", no token of tokenizer.json");
    return found->second;
  }
  const nlohmann::json* id = config.find(number);
  if (id != nullptr && id->is_array() && !id->empty()) {
    id = &(*id)[0];
  }
  if (id == nullptr) {
    return std::nullopt;
  }
  require(id->is_number_unsigned() && id->get<std::uint64_t>() < vocabulary.tokens.size(),
          config.source(), ": \"", number, "\" is no id of tokenizer.json");
  return id->get<std::uint32_t>();
}

}  // namespace detail

ZOQ_BODY void set_hf_tokenizer(const nlohmann::json& tokenizer, const std::string& source,
                               const nlohmann::json& config, const std::string& config_source,
                               const nlohmann::json& tokenizer_config,
                               const std::string& tokenizer_config_source, std::uint32_t vocabulary,
                               gguf_writer& out) {
  const hf_values in(tokenizer, source);
  const hf_values model(in.member("model"), source + ": \"model\"");
  model.require_string("type", "BPE", "BPE");
  model.require_string("continuing_subword_prefix", "", "");
  model.require_string("end_of_word_suffix", "", "");
  model.require_flag("byte_fallback", false, false);
  require(model.number("dropout", 0) == 0, model.source(), ": \"dropout\" is not supported");
  require(!in.has("normalizer"), source, ": \"normalizer\" of type \"",
          in.has("normalizer") && in.member("normalizer").is_object()
              ? printable(hf_values(in.member("normalizer"), source).string("type", ""))
              : "?",
          "\", only none is supported");
  const std::string pre = detail::hf_pre_tokenizer(in, model.flag("ignore_merges", false));
  const detail::hf_vocabulary words = detail::hf_tokens(in, model, vocabulary);
  const detail::hf_ends ends = detail::hf_post_processor(in);
  const hf_values named(tokenizer_config, tokenizer_config_source);
  const hf_values numbered(config, config_source);
  const auto bos = detail::hf_special_id(named, "bos_token", numbered, "bos_token_id", words);
  const auto eos = detail::hf_special_id(named, "eos_token", numbered, "eos_token_id", words);
  require(!ends.first || !bos || *ends.first == *bos, source,
          ": \"post_processor\" begins with token ", ends.first.value_or(0),
          ", the begin token is ", bos.value_or(0));
  require(!ends.last || !eos || *ends.last == *eos, source, ": \"post_processor\" ends with token ",
          ends.last.value_or(0), ", the end token is ", eos.value_or(0));

  out.set("tokenizer.ggml.model", std::string_view("gpt2"));
  out.set("tokenizer.ggml.pre", std::string_view(pre));
  out.set("tokenizer.ggml.tokens", words.tokens);
  out.set("tokenizer.ggml.token_type", words.types);
  out.set("tokenizer.ggml.merges", detail::hf_merges(model));
  if (const auto id = bos ? bos : ends.first) {
    out.set("tokenizer.ggml.bos_token_id", *id);
  }
  if (const auto id = eos ? eos : ends.last) {
    out.set("tokenizer.ggml.eos_token_id", *id);
  }
  out.set("tokenizer.ggml.add_bos_token", ends.first.has_value());
  out.set("tokenizer.ggml.add_eos_token", ends.last.has_value());
}

}  // namespace zoq

#endif
