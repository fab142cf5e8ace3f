// A Llama-family model: its sizes, and its tensors where they lie (in the mapped file).
//
//     zoq::llama model = zoq::llama::open("model.gguf");
//     model.config().layers;   model.tensors();   model.layer(0).query;   model.hash();
//
// The seven matrices of a layer, the two norms, the embedding and the head have fixed numbers, so
// the forward pass finds them without a search. A head that is tied to the embedding is the
// embedding's own tensor.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/model/llama_config.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// The sizes from a file's metadata. Throws, naming file and key, on another architecture, a
/// missing key, or a feature that would change the result and is not built.
inline llama_config llama_config_from(const model_file& file) {
  const std::string architecture = file.get_string("general.architecture");
  require(architecture == "llama", file.path(), ": architecture \"", architecture,
          "\" is not known, wanted \"llama\"");
  const auto size = [&](const char* key) {
    return static_cast<index_t>(file.get_u64(std::string("llama.") + key));
  };
  llama_config c;
  c.layers = size("block_count");
  require(c.layers <= static_cast<index_t>(file.tensors().size()), file.path(),
          ": llama.block_count is ", c.layers, ", the file has ", file.tensors().size(),
          " tensors");
  c.hidden = size("embedding_length");
  c.heads = size("attention.head_count");
  c.kv_heads =
      file.has("llama.attention.head_count_kv") ? size("attention.head_count_kv") : c.heads;
  require(c.heads > 0, file.path(), ": llama.attention.head_count is 0");
  c.head_size =
      file.has("llama.attention.key_length") ? size("attention.key_length") : c.hidden / c.heads;
  c.feed_forward = size("feed_forward_length");
  c.context = size("context_length");
  c.vocabulary = file.matrix("token_embd.weight").rows();
  if (file.has("llama.rope.freq_base")) {
    c.rope_base = file.get_float("llama.rope.freq_base");
  }
  c.norm_epsilon = static_cast<float>(file.get_float("llama.attention.layer_norm_rms_epsilon"));
  c.validate(file.path());
  if (file.has("llama.rope.dimension_count")) {
    require(size("rope.dimension_count") == c.head_size, file.path(),
            ": llama.rope.dimension_count is ", size("rope.dimension_count"),
            ", only the whole head of ", c.head_size, " is supported");
  }
  if (file.has("llama.rope.scaling.type")) {
    require(file.get_string("llama.rope.scaling.type") == "none", file.path(),
            ": llama.rope.scaling.type is \"", file.get_string("llama.rope.scaling.type"),
            "\", only \"none\" is supported");
  }
  return c;
}

class llama {
 public:
  /// The tensor numbers of one layer.
  struct layer_numbers {
    index_t attention_norm, query, key, value, output, feed_forward_norm, gate, up, down;
  };
  static constexpr index_t tensors_per_layer = 9;

  /// Maps a GGUF file; nothing is copied but the norms' gains when used. Throws, naming file and
  /// tensor, on anything that does not fit. Other files: open_model (model/open.hpp).
  static llama open(const std::string& path) { return from(open_gguf(path)); }

  /// The model in a file that is open. Throws as `open` does.
  static llama from(model_file opened) {
    const auto file = std::make_shared<const model_file>(std::move(opened));
    const std::string& path = file->path();
    const llama_config config = llama_config_from(*file);
    std::vector<model_tensor> tensors;
    for (const expected& e : expected_tensors(config)) {
      if (e.role == tensor_role::head && file->find(e.name) == nullptr) {
        continue;  // tied to the embedding
      }
      tensors.push_back({e.name, file->matrix(e.name), e.role});
    }
    require_expected(config, tensors, path);
    for (const stored_tensor& t : file->tensors()) {
      require(find_tensor(tensors, t.name) >= 0, path, ": tensor ", t.name,
              " is not part of a llama model that zoq knows");
    }
    return llama(config, std::move(tensors), file);
  }

  /// A model of tensors that lie elsewhere, in the order of the file: embedding, layers, output
  /// norm, head (none when tied). `owner` keeps their memory alive. Throws when a shape is wrong.
  llama(const llama_config& config, std::vector<model_tensor> tensors,
        std::shared_ptr<const void> owner)
      : config_(config), tensors_(std::move(tensors)), owner_(std::move(owner)) {
    config.validate("llama");
    require_expected(config, tensors_, "llama");
  }

  [[nodiscard]] const llama_config& config() const { return config_; }
  [[nodiscard]] std::span<const model_tensor> tensors() const { return tensors_; }
  [[nodiscard]] const model_tensor& tensor(index_t number) const {
    return tensors_[static_cast<std::size_t>(number)];
  }

  [[nodiscard]] static constexpr index_t embedding() { return 0; }
  [[nodiscard]] static constexpr layer_numbers layer(index_t l) {
    const index_t first = 1 + l * tensors_per_layer;
    return {first,     first + 1, first + 2, first + 3, first + 4,
            first + 5, first + 6, first + 7, first + 8};
  }
  [[nodiscard]] index_t output_norm() const { return 1 + config_.layers * tensors_per_layer; }
  [[nodiscard]] index_t head() const { return tied() ? embedding() : output_norm() + 1; }
  [[nodiscard]] bool tied() const {
    return static_cast<index_t>(tensors_.size()) == output_norm() + 1;
  }

  /// Bytes of all tensors as they are stored.
  [[nodiscard]] index_t byte_count() const {
    index_t bytes = 0;
    for (const model_tensor& t : tensors_) {
      bytes += t.weight.byte_count();
    }
    return bytes;
  }

  /// Names this model by its contents; masks and deltas carry it. Reads every byte once.
  [[nodiscard]] std::string hash() const { return hash_of(tensors_); }

 private:
  struct expected {
    std::string name;
    index_t rows, columns;
    tensor_role role;
  };

  static std::vector<expected> expected_tensors(const llama_config& c) {
    const index_t q = c.heads * c.head_size;
    const index_t kv = c.kv_heads * c.head_size;
    std::vector<expected> out;
    out.push_back({"token_embd.weight", c.vocabulary, c.hidden, tensor_role::embedding});
    for (index_t l = 0; l < c.layers; ++l) {
      const std::string block = "blk." + std::to_string(l) + ".";
      out.push_back({block + "attn_norm.weight", 1, c.hidden, tensor_role::norm});
      out.push_back({block + "attn_q.weight", q, c.hidden, tensor_role::linear});
      out.push_back({block + "attn_k.weight", kv, c.hidden, tensor_role::linear});
      out.push_back({block + "attn_v.weight", kv, c.hidden, tensor_role::linear});
      out.push_back({block + "attn_output.weight", c.hidden, q, tensor_role::linear});
      out.push_back({block + "ffn_norm.weight", 1, c.hidden, tensor_role::norm});
      out.push_back({block + "ffn_gate.weight", c.feed_forward, c.hidden, tensor_role::linear});
      out.push_back({block + "ffn_up.weight", c.feed_forward, c.hidden, tensor_role::linear});
      out.push_back({block + "ffn_down.weight", c.hidden, c.feed_forward, tensor_role::linear});
    }
    out.push_back({"output_norm.weight", 1, c.hidden, tensor_role::norm});
    out.push_back({"output.weight", c.vocabulary, c.hidden, tensor_role::head});
    return out;
  }

  static void require_expected(const llama_config& config, std::span<const model_tensor> tensors,
                               const std::string& source) {
    std::vector<expected> wanted = expected_tensors(config);
    if (tensors.size() + 1 == wanted.size()) {
      wanted.pop_back();  // a tied head
    }
    require(tensors.size() == wanted.size(), source, ": ", tensors.size(), " tensors, wanted ",
            wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const model_tensor& t = tensors[i];
      require(t.name == wanted[i].name && t.weight.rows() == wanted[i].rows &&
                  t.weight.columns() == wanted[i].columns,
              source, ": tensor ", t.name, " is ", t.weight.rows(), " x ", t.weight.columns(),
              ", wanted ", wanted[i].name, " of ", wanted[i].rows, " x ", wanted[i].columns);
    }
  }

  llama_config config_;
  std::vector<model_tensor> tensors_;
  std::shared_ptr<const void> owner_;
};

/// A norm's gain as floats in the executor's memory: [C].
template <executor X>
buffer<float, typename X::space> gain_of(const X& exec, const any_packed& norm) {
  std::vector<float> values(static_cast<std::size_t>(norm.columns()));
  norm.visit([&](const auto& w) { decode_row(w, 0, values.data()); });
  auto out = exec.template allocate<float>(norm.columns());
  exec.upload(values.data(), norm.columns(), out.data());
  return out;
}

}  // namespace zoq
