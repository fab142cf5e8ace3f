// A model small enough to check by hand, in any format: in memory, or as a GGUF file. A Llama, or of
// any other family by its config.
//
//     zoq::test::tiny_llama tiny({.format = "q4_1"});
//     zoq::llama model = tiny.model();
//     tiny.write(path);                       // the same model; tiny.metadata and tiny.tensors may
//                                             // be changed before, to make broken files
//
//     zoq::test::tiny_llama other({.config = zoq::test::tiny_gpt2_config(), .tied = true});
//
// The weights follow the formula of tests/golden/tiny_llama.py, whose golden values hold for the
// default sizes in f32; those of tiny_gpt2.py and tiny_openelm.py for these configs, tied.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "io/tiny_vocabulary.hpp"
#include "ops/samples.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/model/families.hpp"
#include "zoq/model/llama.hpp"

namespace zoq::test {

/// The sizes of the golden file.
inline llama_config tiny_config() {
  llama_config c;
  c.layers = 2;
  c.hidden = 32;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_size = 8;
  c.feed_forward = 64;
  c.vocabulary = 96;
  c.context = 64;
  return c;
}

/// A larger one: three layers, 211,968 linear weights, heads that share keys and values in threes.
inline llama_config small_config() {
  llama_config c;
  c.layers = 3;
  c.hidden = 96;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_size = 16;
  c.feed_forward = 160;
  c.vocabulary = 300;
  c.context = 128;
  return c;
}

/// A GPT-2 of the golden file's sizes.
inline llama_config tiny_gpt2_config() {
  llama_config c = tiny_config();
  c.family = "gpt2";
  c.norms = norm_kind::layer;
  c.positions = position_kind::learned;
  c.activation = activation_kind::gelu;
  c.kv_heads = c.heads;
  return c;
}

/// An OpenELM of the golden file's sizes: two layers that differ.
inline llama_config tiny_openelm_config() {
  llama_config c = tiny_config();
  c.family = "openelm";
  c.rotary_halves = true;
  c.norm_epsilon = 1e-6f;
  c.set_layers({{4, 1, 64}, {8, 2, 96}});
  return c;
}

struct tiny_options {
  llama_config config = tiny_config();
  std::string_view format = "f32";  // of all matrices; norms are f32
  bool tied = false;                // no head of its own
};

class tiny_llama {
 public:
  struct tensor {
    std::string name;
    tensor_role role;
    packed_matrix weight;
    std::vector<index_t> shape;  // as in the file, fastest first
    std::uint32_t type;          // GGUF id
  };
  using value = std::variant<std::uint32_t, float, std::string, std::vector<std::uint32_t>>;

  llama_config config;
  std::vector<tensor> tensors;  // in the order of the file
  std::map<std::string, value> metadata;

  explicit tiny_llama(const tiny_options& options = {})
      : config(options.config), format_(options.format) {
    for (const expected_tensor& e : tensors_of(config).all()) {
      if (e.role != tensor_role::head || !options.tied) {
        add(e);
      }
    }
    set_metadata();
  }

  /// Element e of tensor t by the formula.
  static float element(std::uint64_t t, std::uint64_t e, tensor_role role) {
    std::uint64_t z = t * 0x9E3779B97F4A7C15u + e;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    const double u = static_cast<double>(z >> 40) * 0x1p-24;
    return static_cast<float>(role == tensor_role::norm   ? 1 + (u - 0.5) * 0.2
                              : role == tensor_role::bias ? (u - 0.5) * 0.2
                                                          : (u - 0.5) * 2 * 0.3);
  }

  /// The model in memory, which lives as long as the result.
  [[nodiscard]] llama model() const {
    const auto kept = std::make_shared<std::vector<tensor>>(tensors);
    std::vector<model_tensor> all;
    for (const tensor& t : *kept) {
      all.push_back({t.name, t.weight.view, t.role});
    }
    return llama(config, std::move(all), kept);
  }

  /// Metadata and tensors for a file; `this` must outlive it.
  [[nodiscard]] gguf_writer writer() const {
    gguf_writer out;
    for (const auto& [key, what] : metadata) {
      std::visit([&, &name = key](const auto& v) { out.set(name, v); }, what);
    }
    for (const tensor& t : tensors) {
      out.add_tensor(t.name, t.shape, t.type, *t.weight.bytes);
    }
    return out;
  }
  void write(const std::string& path) const { writer().write(path); }

  /// The same with a byte-level tokenizer; the vocabulary must hold 256 tokens or more.
  void write_with_tokenizer(const std::string& path) const {
    tiny_vocabulary words;
    while (static_cast<index_t>(words.tokens.size()) < config.vocabulary) {
      words.special("<unused" + std::to_string(words.tokens.size()) + ">", 3);
    }
    words.more = writer();
    words.write(path);
  }

  /// Decoded weights of all tensors.
  [[nodiscard]] std::vector<std::vector<float>> decoded() const {
    std::vector<std::vector<float>> out;
    for (const tensor& t : tensors) {
      out.push_back(t.weight.decoded());
    }
    return out;
  }

  tensor& named(std::string_view name) {
    for (tensor& t : tensors) {
      if (t.name == name) {
        return t;
      }
    }
    fail("test: no tensor ", name);
  }
  void remove(std::string_view name) {
    std::erase_if(tensors, [&](const tensor& t) { return t.name == name; });
  }

 private:
  void add(const expected_tensor& wanted) {
    const index_t rows = wanted.rows, columns = wanted.columns;
    const bool is_vector = wanted.role == tensor_role::norm || wanted.role == tensor_role::bias;
    std::vector<float> values;
    for (index_t e = 0; e < rows * columns; ++e) {
      values.push_back(element(tensors.size(), static_cast<std::uint64_t>(e), wanted.role));
    }
    const std::string_view format = is_vector ? std::string_view("f32") : std::string_view(format_);
    const packed_matrix weight = pack(format, values, rows, columns);
    tensors.push_back(
        {wanted.name, wanted.role, weight,
         is_vector ? std::vector<index_t>{columns} : std::vector<index_t>{columns, rows},
         weight.view.format().gguf_type});
  }

  void set_metadata() {
    const llama_config& c = config;
    const auto size = [](index_t n) { return static_cast<std::uint32_t>(n); };
    const auto set = [&](const char* key, const value& what) {
      metadata[std::string(c.family) + "." + key] = what;
    };
    metadata["general.architecture"] = std::string(c.family);
    set("block_count", size(c.layers));
    set("embedding_length", size(c.hidden));
    set("context_length", size(c.context));
    if (c.by_layer.empty()) {
      set("attention.head_count", size(c.heads));
      set("feed_forward_length", size(c.feed_forward));
    } else {
      std::vector<std::uint32_t> heads, kv_heads, feed_forward;
      for (const layer_sizes& s : c.by_layer) {
        heads.push_back(size(s.heads));
        kv_heads.push_back(size(s.kv_heads));
        feed_forward.push_back(size(s.feed_forward));
      }
      set("attention.head_count", heads);
      set("attention.head_count_kv", kv_heads);
      set("feed_forward_length", feed_forward);
      set("attention.key_length", size(c.head_size));
    }
    if (c.norms == norm_kind::layer) {
      set("attention.layer_norm_epsilon", c.norm_epsilon);
    } else {
      set("attention.layer_norm_rms_epsilon", c.norm_epsilon);
    }
    if (c.positions == position_kind::rotary) {
      if (c.by_layer.empty()) {
        set("attention.head_count_kv", size(c.kv_heads));
      }
      set("rope.dimension_count", size(c.head_size));
      set("rope.freq_base", static_cast<float>(c.rope_base));
    }
  }

  std::string format_;
};

/// n tokens, the same everywhere.
inline std::vector<token_t> some_tokens(index_t n, seed_t seed, index_t vocabulary) {
  std::vector<token_t> out;
  for (index_t i = 0; i < n; ++i) {
    out.push_back(
        static_cast<token_t>(random_word(seed, i) % static_cast<std::uint32_t>(vocabulary)));
  }
  return out;
}

}  // namespace zoq::test
