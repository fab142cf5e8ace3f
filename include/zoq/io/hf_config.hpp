// A Hugging Face folder's config.json as GGUF metadata: sizes under the keys that GGUF files have.
//
//     zoq::gguf_writer out;
//     zoq::set_hf_config(config, "folder/config.json", out);
//     // "num_hidden_layers": 30 of a llama is now llama.block_count = 30
//
// One key is zoq's own: `zoq.rotary_halves` = true. The rows of query and key of a Llama lie in such a
// folder so that coordinates j and j + D / 2 of a head turn together; in GGUF files neighbours do.
// A setting that would change the result and is not built is refused by name; what is not named here
// is not looked at.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/gguf_writer.hpp"

namespace zoq {

/// The members of a JSON object, checked. `null` counts as absent. Every function throws `error`,
/// starting with the object's source and naming the key.
class hf_values {
 public:
  /// Keeps a reference to the object. `source` starts every message.
  hf_values(const nlohmann::json& object, std::string source);

  /// What starts every message.
  [[nodiscard]] const std::string& source() const { return source_; }
  /// True unless it is absent.
  [[nodiscard]] bool has(const char* key) const { return find(key) != nullptr; }
  /// The member of this key, or null when it is absent.
  [[nodiscard]] const nlohmann::json* find(const char* key) const;
  /// The member of this key. Throws when it is absent.
  [[nodiscard]] const nlohmann::json& member(const char* key) const;

  /// A whole number from 1 to 2^31.
  [[nodiscard]] std::uint32_t size(const char* key) const;
  /// The same, or `absent`.
  [[nodiscard]] std::uint32_t size(const char* key, std::uint32_t absent) const;
  /// A number of every layer.
  [[nodiscard]] std::vector<std::uint32_t> sizes(const char* key, std::size_t layers) const;
  /// A number that a float can hold.
  [[nodiscard]] double number(const char* key) const;
  /// The same, or `absent`.
  [[nodiscard]] double number(const char* key, double absent) const;
  /// A bool, or `absent`.
  [[nodiscard]] bool flag(const char* key, bool absent) const;
  /// A string, or `absent`.
  [[nodiscard]] std::string string(const char* key, std::string_view absent) const;
  /// An array of as many values.
  [[nodiscard]] const nlohmann::json& list(const char* key, std::size_t wanted) const;

  /// For settings of which only one value is built: throws unless it is `wanted`.
  void require_flag(const char* key, bool absent, bool wanted) const;
  /// The same of a number, which is `wanted` where it is absent.
  void require_number(const char* key, double wanted) const;
  /// The same of a string.
  void require_string(const char* key, std::string_view absent, std::string_view wanted) const;

 private:
  [[nodiscard]] std::uint32_t size_of(const nlohmann::json& value, const char* key) const;

  const nlohmann::json& object_;
  std::string source_;
};

/// What a folder's tensors depend on beside their names.
struct hf_family {
  std::string name;              // general.architecture: "llama", "gpt2", "openelm"
  std::uint32_t vocabulary = 0;  // rows of the embedding
  bool tied = false;             // the head is the embedding
  bool rotary_halves = false;    // coordinates j and j + D / 2 turn together
};

/// Sets the sizes of the model whose config.json was read from `source`. Throws, starting with
/// `source` and naming the key, on another kind of model, a missing key and a setting that is not
/// built.
hf_family set_hf_config(const nlohmann::json& config, const std::string& source, gguf_writer& out);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/json.hpp"

namespace zoq {

ZOQ_BODY hf_values::hf_values(const nlohmann::json& object, std::string source)
    : object_(object), source_(std::move(source)) {
  require(object.is_object(), source_, ": is no JSON object");
}

ZOQ_BODY const nlohmann::json* hf_values::find(const char* key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

ZOQ_BODY const nlohmann::json& hf_values::member(const char* key) const {
  const nlohmann::json* found = find(key);
  require(found != nullptr, source_, ": key \"", key, "\" is missing");
  return *found;
}

ZOQ_BODY std::uint32_t hf_values::size(const char* key) const { return size_of(member(key), key); }

ZOQ_BODY std::uint32_t hf_values::size(const char* key, std::uint32_t absent) const {
  return has(key) ? size(key) : absent;
}

ZOQ_BODY std::vector<std::uint32_t> hf_values::sizes(const char* key, std::size_t layers) const {
  std::vector<std::uint32_t> out;
  for (const nlohmann::json& value : list(key, layers)) {
    out.push_back(size_of(value, key));
  }
  return out;
}

ZOQ_BODY double hf_values::number(const char* key) const {
  const nlohmann::json& value = member(key);
  require(value.is_number() && std::fabs(value.get<double>()) <= double{FLT_MAX}, source_, ": \"",
          key, "\" is no number that a float can hold");
  return value.get<double>();
}

ZOQ_BODY double hf_values::number(const char* key, double absent) const {
  return has(key) ? number(key) : absent;
}

ZOQ_BODY bool hf_values::flag(const char* key, bool absent) const {
  const nlohmann::json* value = find(key);
  require(value == nullptr || value->is_boolean(), source_, ": \"", key,
          "\" is neither true nor false");
  return value == nullptr ? absent : value->get<bool>();
}

ZOQ_BODY std::string hf_values::string(const char* key, std::string_view absent) const {
  return has(key) ? json_string(object_, key, source_) : std::string(absent);
}

ZOQ_BODY const nlohmann::json& hf_values::list(const char* key, std::size_t wanted) const {
  const nlohmann::json& values = member(key);
  require(values.is_array() && values.size() == wanted, source_, ": \"", key, "\" is no array of ",
          wanted, " values");
  return values;
}

ZOQ_BODY void hf_values::require_flag(const char* key, bool absent, bool wanted) const {
  require(flag(key, absent) == wanted, source_, ": \"", key, "\" is ", wanted ? "false" : "true",
          ", only ", wanted ? "true" : "false", " is supported");
}

ZOQ_BODY void hf_values::require_number(const char* key, double wanted) const {
  const double found = number(key, wanted);
  require(found == wanted, source_, ": \"", key, "\" is ", found, ", only ", wanted,
          " is supported");
}

ZOQ_BODY void hf_values::require_string(const char* key, std::string_view absent,
                                        std::string_view wanted) const {
  const std::string found = string(key, absent);
  require(found == wanted, source_, ": \"", key, "\" is \"", printable(found), "\", only \"",
          wanted, "\" is supported");
}

ZOQ_BODY std::uint32_t hf_values::size_of(const nlohmann::json& value, const char* key) const {
  const std::uint64_t n = value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
  require(n >= 1 && n <= std::uint64_t{1} << 31, source_, ": \"", key,
          "\" is no whole number from 1 to 2^31");
  return static_cast<std::uint32_t>(n);
}

namespace detail {

/// Rotary positions: their base, and nothing else.
ZOQ_BODY void set_hf_rotary(const hf_values& in, const std::string& family, gguf_writer& out) {
  double base = in.number("rope_theta", 10000);
  in.require_number("partial_rotary_factor", 1);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!in.has(key)) {
      continue;
    }
    const hf_values rope(in.member(key), text(in.source(), ": \"", key, "\""));
    rope.require_string(rope.has("type") ? "type" : "rope_type", "default", "default");
    rope.require_number("partial_rotary_factor", 1);
    base = rope.number("rope_theta", base);
  }
  out.set(family + ".rope.freq_base", static_cast<float>(base));
}

ZOQ_BODY void set_hf_llama(const hf_values& in, gguf_writer& out) {
  in.require_string("hidden_act", "silu", "silu");
  in.require_flag("attention_bias", false, false);
  in.require_flag("mlp_bias", false, false);
  const std::uint32_t hidden = in.size("hidden_size"), heads = in.size("num_attention_heads");
  const std::uint32_t head_size = in.size("head_dim", hidden / heads);
  require(head_size > 0, in.source(), ": \"hidden_size\" is ", hidden, ", less than the ", heads,
          " of \"num_attention_heads\"");
  out.set("llama.block_count", in.size("num_hidden_layers"));
  out.set("llama.context_length", in.size("max_position_embeddings"));
  out.set("llama.embedding_length", hidden);
  out.set("llama.feed_forward_length", in.size("intermediate_size"));
  out.set("llama.attention.head_count", heads);
  out.set("llama.attention.head_count_kv", in.size("num_key_value_heads", heads));
  out.set("llama.attention.key_length", head_size);
  out.set("llama.attention.value_length", head_size);
  out.set("llama.attention.layer_norm_rms_epsilon", static_cast<float>(in.number("rms_norm_eps")));
  out.set("llama.rope.dimension_count", head_size);
  set_hf_rotary(in, "llama", out);
  out.set("zoq.rotary_halves", true);
}

ZOQ_BODY void set_hf_gpt2(const hf_values& in, gguf_writer& out) {
  in.require_string("activation_function", "gelu_new", "gelu_new");
  in.require_flag("scale_attn_weights", true, true);
  in.require_flag("scale_attn_by_inverse_layer_idx", false, false);
  const std::uint32_t hidden = in.size("n_embd");
  out.set("gpt2.block_count", in.size("n_layer"));
  out.set("gpt2.context_length", in.size("n_positions"));
  out.set("gpt2.embedding_length", hidden);
  require(hidden <= 1u << 29, in.source(), ": \"n_embd\" is ", hidden, ", wanted up to 2^29");
  out.set("gpt2.feed_forward_length", in.size("n_inner", 4 * hidden));
  out.set("gpt2.attention.head_count", in.size("n_head"));
  out.set("gpt2.attention.layer_norm_epsilon",
          static_cast<float>(in.number("layer_norm_epsilon", 1e-5)));
}

/// The next multiple of `divisor`, down where that is near enough: as the model's own code rounds.
ZOQ_BODY std::uint32_t openelm_multiple(double value, std::uint32_t divisor) {
  const double d = static_cast<double>(divisor);
  double out = std::max(d, std::floor((value + d / 2) / d) * d);
  if (out < 0.9 * value) {
    out += d;
  }
  return static_cast<std::uint32_t>(out);
}

ZOQ_BODY void set_hf_openelm(const hf_values& in, gguf_writer& out) {
  in.require_string("activation_fn_name", "swish", "swish");
  in.require_string("normalization_layer_name", "rms_norm", "rms_norm");
  in.require_flag("ffn_with_glu", true, true);
  in.require_flag("normalize_qk_projections", true, true);
  const std::uint32_t layers = in.size("num_transformer_layers"), hidden = in.size("model_dim");
  const std::uint32_t divisor = in.size("ffn_dim_divisor"), head_size = in.size("head_dim");
  std::vector<std::uint32_t> feed_forward;
  for (const nlohmann::json& factor : in.list("ffn_multipliers", layers)) {
    require(factor.is_number() && factor.get<double>() > 0 && factor.get<double>() < 1000,
            in.source(), ": \"ffn_multipliers\" has an entry that is no number from 0 to 1000");
    const double wanted = factor.get<double>() * hidden;
    require(wanted <= 1u << 31 && divisor <= 1u << 30, in.source(),
            ": \"ffn_multipliers\" make a layer of ", wanted, ", wanted up to 2^31");
    feed_forward.push_back(openelm_multiple(wanted, divisor));
  }
  out.set("openelm.block_count", layers);
  out.set("openelm.context_length", in.size("max_context_length"));
  out.set("openelm.embedding_length", hidden);
  out.set("openelm.feed_forward_length", feed_forward);
  out.set("openelm.attention.head_count", in.sizes("num_query_heads", layers));
  out.set("openelm.attention.head_count_kv", in.sizes("num_kv_heads", layers));
  out.set("openelm.attention.key_length", head_size);
  out.set("openelm.attention.value_length", head_size);
  out.set("openelm.attention.layer_norm_rms_epsilon", 1e-6f);  // fixed in the model's own code
  out.set("openelm.rope.dimension_count", head_size);
  out.set("openelm.rope.freq_base", static_cast<float>(in.number("rope_freq_constant", 10000)));
}

}  // namespace detail

ZOQ_BODY hf_family set_hf_config(const nlohmann::json& config, const std::string& source,
                                 gguf_writer& out) {
  const hf_values in(config, source);
  hf_family family{in.string("model_type", ""), in.size("vocab_size"), false, false};
  require(in.find("quantization_config") == nullptr, source,
          ": \"quantization_config\": the tensors are quantised already, wanted floats");
  out.set("general.architecture", family.name);
  if (family.name == "llama") {
    detail::set_hf_llama(in, out);
    family.tied = in.flag("tie_word_embeddings", false);
    family.rotary_halves = true;
  } else if (family.name == "gpt2") {
    detail::set_hf_gpt2(in, out);
    family.tied = in.flag("tie_word_embeddings", true);
  } else if (family.name == "openelm") {
    detail::set_hf_openelm(in, out);
    family.tied = in.flag("share_input_output_layers", true);
  } else {
    fail(source, ": \"model_type\" is \"", printable(family.name),
         "\", zoq knows llama, gpt2 and openelm");
  }
  return family;
}

}  // namespace zoq

#endif
