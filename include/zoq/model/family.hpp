// concept model_family: what is to be known of a family of models. Its sizes from a file's metadata,
// and its tensors by name, each with the place that the forward pass looks for it.
//
//     struct my_family {
//       static constexpr std::string_view name = "mine";     // general.architecture of a GGUF file
//       static decoder_config config_from(const model_file& file);
//       static tensor_list tensors(const decoder_config& c);
//     };
//     static_assert(model_family<my_family>);
//
// With its name in `any_family` (families.hpp), every reader, pass and trainer knows it, as far as its
// layers are what decoder_config can say. A place without a tensor is a part that is not there: no
// bias, no norm of queries; `query_key_value` stands for three matrices in one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/model/decoder_config.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq {

class model_file;

/// The tensors of one layer by number; -1: there is none.
struct layer_numbers {
  index_t attention_norm = -1,      // gain [C], before attention
      attention_norm_bias = -1;     // [C]
  index_t query = -1,               // [H * D, C]
      key = -1,                     // [K * D, C]
      value = -1,                   // [K * D, C]
      query_key_value = -1;         // the three in one: [(H + 2 K) * D, C]
  index_t query_bias = -1,          // [H * D]
      key_bias = -1,                // [K * D]
      value_bias = -1,              // [K * D]
      query_key_value_bias = -1;    // [(H + 2 K) * D]
  index_t query_norm = -1,          // gain [D], of every head
      key_norm = -1;                // gain [D], of every head
  index_t output = -1,              // of attention: [C, H * D]
      output_bias = -1;             // [C]
  index_t feed_forward_norm = -1,   // gain [C], before the feed-forward layer
      feed_forward_norm_bias = -1;  // [C]
  index_t gate = -1,                // [F, C]
      up = -1,                      // [F, C]
      up_bias = -1,                 // [F]
      down = -1,                    // [C, F]
      down_bias = -1;               // [C]
};

/// The tensors of a model by number; -1: there is none.
struct model_numbers {
  index_t embedding = -1,     // [V, C]
      positions = -1;         // learned ones: [context, C]
  index_t output_norm = -1,   // gain [C], after the last layer
      output_norm_bias = -1;  // [C]
  index_t head = -1;          // [V, C]; none: tied to the embedding
};

/// A tensor that a model of a family must have, and its place.
struct expected_tensor {
  std::string name;                            // in GGUF files
  index_t rows = 0,                            // O; 1 of a gain or a bias
      columns = 0;                             // C
  tensor_role role = tensor_role::linear;      // what it is for
  index_t layer = -1;                          // -1: of the model
  index_t layer_numbers::*in_layer = nullptr;  // of a layer; null: of the model
  index_t model_numbers::*in_model = nullptr;  // of the model; null: of a layer
};

/// A model's tensors in their order: the order of `decoder::tensors()`. Its head comes last.
class tensor_list {
 public:
  /// A tensor of the model.
  void add(std::string name, tensor_role role, index_t rows, index_t columns,
           index_t model_numbers::*place);
  /// A tensor "blk.LAYER.NAME" of a layer.
  void add(index_t layer, std::string_view name, tensor_role role, index_t rows, index_t columns,
           index_t layer_numbers::*place);

  [[nodiscard]] const std::vector<expected_tensor>& all() const& { return all_; }  // in order
  [[nodiscard]] std::vector<expected_tensor> all() && { return std::move(all_); }  // moved out

 private:
  std::vector<expected_tensor> all_;
};

template <class F>
concept model_family = requires(const model_file& file, const decoder_config& config) {
  { F::name } -> std::convertible_to<std::string_view>;
  { F::config_from(file) } -> std::same_as<decoder_config>;
  { F::tensors(config) } -> std::same_as<tensor_list>;
};

/// A file's metadata under the keys of one family: "llama.block_count" as `size("block_count")`.
/// Every function throws, naming file and key, when the key is missing or its value does not fit.
class family_metadata {
 public:
  /// Keeps a reference: the file must outlive it. Keys begin with the name `family`.
  family_metadata(const model_file& file, std::string_view family);

  /// "llama.block_count" of "block_count".
  [[nodiscard]] std::string key(std::string_view name) const;
  /// Whether the file has the key.
  [[nodiscard]] bool has(std::string_view name) const;
  /// A size from 1 to 2^31: products of two stay below 2^62.
  [[nodiscard]] index_t size(std::string_view name) const;
  /// The same, but `absent` where the key is missing.
  [[nodiscard]] index_t size(std::string_view name, index_t absent) const;
  /// A positive number that a float can hold.
  [[nodiscard]] double number(std::string_view name) const;

  /// A number of layers that the file can hold.
  [[nodiscard]] index_t layers() const;

  /// A size of every layer: an array of them, or one number for all.
  [[nodiscard]] std::vector<index_t> sizes(std::string_view name, index_t layers) const;

  /// What families with rotary positions and RMS norms have alike: context, vocabulary, the rotary base and
  /// epsilon. Throws as `validate` and `require_plain_rotary` do, and on a mixture of experts.
  void read_rotary_and_rms(decoder_config& c) const;

  /// Throws unless rotary positions turn whole heads of `head_size`, without scaling.
  void require_plain_rotary(index_t head_size) const;

 private:
  const model_file& file_;
  std::string prefix_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstdint>
#include <limits>

#include "zoq/core/error.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

ZOQ_BODY void tensor_list::add(std::string name, tensor_role role, index_t rows, index_t columns,
                               index_t model_numbers::*place) {
  all_.push_back({std::move(name), rows, columns, role, -1, nullptr, place});
}

ZOQ_BODY void tensor_list::add(index_t layer, std::string_view name, tensor_role role, index_t rows,
                               index_t columns, index_t layer_numbers::*place) {
  all_.push_back({text("blk.", layer, ".", name), rows, columns, role, layer, place, nullptr});
}

ZOQ_BODY family_metadata::family_metadata(const model_file& file, std::string_view family)
    : file_(file), prefix_(std::string(family) + ".") {}

ZOQ_BODY std::string family_metadata::key(std::string_view name) const {
  return prefix_ + std::string(name);
}

ZOQ_BODY bool family_metadata::has(std::string_view name) const { return file_.has(key(name)); }

ZOQ_BODY index_t family_metadata::size(std::string_view name) const {
  const std::uint64_t n = file_.get_u64(key(name));
  require(n >= 1 && n <= std::uint64_t{1} << 31, file_.path(), ": metadata ", key(name), " is ", n,
          ", wanted a size from 1 to 2^31");
  return static_cast<index_t>(n);
}

ZOQ_BODY index_t family_metadata::size(std::string_view name, index_t absent) const {
  return has(name) ? size(name) : absent;
}

ZOQ_BODY double family_metadata::number(std::string_view name) const {
  const double n = file_.get_float(key(name));
  require(n > 0 && n <= static_cast<double>(std::numeric_limits<float>::max()), file_.path(),
          ": metadata ", key(name), " is ", n, ", wanted a finite positive number");
  return n;
}

ZOQ_BODY index_t family_metadata::layers() const {
  const index_t n = size("block_count");
  require(n <= static_cast<index_t>(file_.tensors().size()), file_.path(), ": ", key("block_count"),
          " is ", n, ", the file has ", file_.tensors().size(), " tensors");
  return n;
}

ZOQ_BODY std::vector<index_t> family_metadata::sizes(std::string_view name, index_t layers) const {
  const std::string wanted = key(name);
  const auto values = file_.metadata();
  const auto found = std::find_if(values.begin(), values.end(),
                                  [&](const gguf_value& v) { return v.key == wanted; });
  if (found == values.end() || found->kind != gguf_kind::array) {
    return std::vector<index_t>(static_cast<std::size_t>(layers), size(name));
  }
  require(file_.get_count(wanted) == static_cast<std::uint64_t>(layers), file_.path(), ": ", wanted,
          " has ", file_.get_count(wanted), " values, the model ", layers, " layers");
  const std::vector<std::int64_t> all = file_.get_integers(wanted);
  for (const std::int64_t n : all) {
    require(n >= 1 && n <= std::int64_t{1} << 31, file_.path(), ": metadata ", wanted,
            " has an entry of ", n, ", wanted sizes from 1 to 2^31");
  }
  return {all.begin(), all.end()};
}

ZOQ_BODY void family_metadata::read_rotary_and_rms(decoder_config& c) const {
  if (has("expert_count")) {
    const std::uint64_t experts = file_.get_u64(key("expert_count"));
    require(experts == 0, file_.path(), ": ", key("expert_count"), " is ", experts,
            ", a mixture of experts is not supported");
  }
  c.context = size("context_length");
  c.vocabulary = file_.matrix("token_embd.weight").rows();
  if (has("rope.freq_base")) {
    c.rope_base = number("rope.freq_base");
  }
  c.norm_epsilon = static_cast<float>(number("attention.layer_norm_rms_epsilon"));
  c.validate(file_.path());
  require_plain_rotary(c.head_size);
}

ZOQ_BODY void family_metadata::require_plain_rotary(index_t head_size) const {
  if (has("rope.dimension_count")) {
    require(size("rope.dimension_count") == head_size, file_.path(), ": ",
            key("rope.dimension_count"), " is ", size("rope.dimension_count"),
            ", only the whole head of ", head_size, " is supported");
  }
  if (has("rope.scaling.type")) {
    const std::string type = file_.get_string(key("rope.scaling.type"));
    require(type == "none", file_.path(), ": ", key("rope.scaling.type"), " is \"", printable(type),
            "\", only \"none\" is supported");
  }
  if (has("rope.scale_linear")) {  // of older files
    const double scale = file_.get_float(key("rope.scale_linear"));
    require(scale == 1, file_.path(), ": ", key("rope.scale_linear"), " is ", scale,
            ", only 1 is supported");
  }
}

}  // namespace zoq

#endif
