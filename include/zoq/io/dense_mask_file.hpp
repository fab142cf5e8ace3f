// Masks as dense tensors: what other tools make and read. A safetensors file with one BOOL or U8 tensor
// [rows, columns] for each matrix, an entry of which is chosen where it is not 0.
//
//     zoq::mask m = zoq::read_dense_mask("theirs.safetensors", {.heads = 9, .kv_heads = 3});
//     zoq::write_dense_mask("ours.safetensors", m, {.names = zoq::naming::hf, .heads = 9, .kv_heads = 3});
//     zoq::mask any = zoq::read_any_mask(path, heads);      // dense, or as mask_file.hpp has it
//
// Names are GGUF's (blk.3.attn_q.weight) or Hugging Face's of the Llama family
// (model.layers.3.self_attn.q_proj.weight). The two order the rows of a query or key head of size D
// in another way: row 2 i + j of GGUF is row i + j D / 2 of Hugging Face, j = 0, 1. So these need the
// numbers of heads. Whether shapes suit a model is checked where the mask meets one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/sparse/mask.hpp"

namespace zoq {

/// Whose names tensors have: GGUF's, or those of Hugging Face's Llama family.
enum class naming { gguf, hf };

/// What a file of a dense mask is like. Heads count where rows stand in another order.
struct dense_mask_options {
  naming names = naming::gguf;  // to write; reading tells them apart
  index_t heads = 0;            // of queries; 0: not known
  index_t kv_heads = 0;         // of keys
};

/// "blk.3.attn_q.weight" of "model.layers.3.self_attn.q_proj.weight"; empty for other names.
std::string gguf_name_of(std::string_view hf);

/// Throws, naming file and tensor, on a tensor that is no matrix of BOOL or U8, and on names that are
/// neither GGUF's nor those of Hugging Face's Llama family. Tensors without a chosen entry are left out.
mask read_dense_mask(const std::string& path, const dense_mask_options& options = {});

/// A BOOL tensor for each matrix of the mask. Memory: a byte for every entry of these matrices.
/// Written whole or not at all. Throws, naming the file, and the tensor when it has no name there.
void write_dense_mask(const std::string& path, const mask& m,
                      const dense_mask_options& options = {});

/// A mask of either kind of file, told by the metadata.
mask read_any_mask(const std::string& path, const dense_mask_options& options = {});

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/hf_names.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/safetensors.hpp"

namespace zoq {

ZOQ_BODY std::string gguf_name_of(std::string_view hf) {
  const auto places = hf_places("llama", hf);
  return places.has_value() && places->size() == 1 ? places->front().name : std::string();
}

namespace detail {

/// Heads whose rows the namings order differently in the tensor of this GGUF name; 0: none. Throws
/// when there are such heads and their number is not known or does not divide the rows.
ZOQ_BODY index_t turned_heads(std::string_view gguf, index_t rows,
                              const dense_mask_options& options, const std::string& source) {
  const bool query = gguf.ends_with(".attn_q.weight");
  if (!query && !gguf.ends_with(".attn_k.weight")) {
    return 0;
  }
  const index_t heads = query ? options.heads : options.kv_heads;
  require(heads > 0, source, ": the rows of ", printable(gguf),
          " stand in another order here, which needs the numbers of heads");
  require(rows % (2 * heads) == 0, source, ": ", printable(gguf), " has ", rows,
          " rows, which are not ", heads, " heads of an even size");
  return heads;
}

/// The row in Hugging Face's order of a row in GGUF's, for heads of `size` rows.
ZOQ_BODY index_t hf_row(index_t row, index_t size) {
  const index_t at = row % size;
  return row - at + at / 2 + at % 2 * (size / 2);
}

}  // namespace detail

ZOQ_BODY mask read_dense_mask(const std::string& path, const dense_mask_options& options) {
  const safetensors_file file = safetensors_file::open(path);
  mask m;
  for (const safetensor& t : file.tensors()) {
    require((t.dtype == "BOOL" || t.dtype == "U8") && t.shape.size() == 2 && t.shape[0] > 0 &&
                t.shape[1] > 0,
            path, ": tensor ", printable(t.name), " is no matrix of BOOL or U8");
    require(t.shape[0] <= std::numeric_limits<std::int32_t>::max() / t.shape[1], path, ": tensor ",
            printable(t.name), " has more than 2^31 entries");
    const bool none =
        std::all_of(t.bytes.begin(), t.bytes.end(), [](std::byte b) { return b == std::byte{}; });
    if (none) {
      continue;
    }
    const std::string of_hf = gguf_name_of(t.name);
    const std::string name = of_hf.empty() ? t.name : of_hf;
    require(!hf_name_of("llama", name).empty() || !of_hf.empty() || t.name.starts_with("blk."),
            path, ": tensor ", printable(t.name), " is not known by this name");
    const index_t heads = of_hf.empty() ? 0 : detail::turned_heads(name, t.shape[0], options, path);
    tensor_mask one{name, t.shape[0], t.shape[1], {}};
    for (index_t row = 0; row < one.rows; ++row) {
      const index_t from = heads == 0 ? row : detail::hf_row(row, one.rows / heads);
      for (index_t c = 0; c < one.columns; ++c) {
        if (t.bytes[static_cast<std::size_t>(from * one.columns + c)] != std::byte{}) {
          one.index.push_back(static_cast<std::int32_t>(row * one.columns + c));
        }
      }
    }
    m.tensors.push_back(std::move(one));
  }
  const auto model = file.metadata().find("model");
  m.model_hash = model == file.metadata().end() ? "" : model->second;
  m.about["source"] = path;
  try {
    m.validate();
  } catch (const error& e) {
    fail(path, ": ", printable(e.what(), 400));
  }
  return m;
}

ZOQ_BODY void write_dense_mask(const std::string& path, const mask& m,
                               const dense_mask_options& options) {
  m.validate();
  std::vector<std::vector<std::byte>> all;
  std::vector<safetensor> tensors;
  for (const tensor_mask& t : m.tensors) {
    const bool to_hf = options.names == naming::hf;
    const std::string name = to_hf ? hf_name_of("llama", t.tensor) : t.tensor;
    require(!name.empty(), path, ": ", t.tensor, " has no name in Hugging Face's Llama family");
    const index_t heads = to_hf ? detail::turned_heads(t.tensor, t.rows, options, path) : 0;
    std::vector<std::byte>& bytes = all.emplace_back(static_cast<std::size_t>(t.rows * t.columns));
    for (const auto i : t.index) {
      const index_t row = i / t.columns;
      const index_t to = heads == 0 ? row : detail::hf_row(row, t.rows / heads);
      bytes[static_cast<std::size_t>(to * t.columns + i % t.columns)] = std::byte{1};
    }
    tensors.push_back({name, "BOOL", {t.rows, t.columns}, bytes});
  }
  write_safetensors(path, tensors, {{"model", m.model_hash}});
}

ZOQ_BODY mask read_any_mask(const std::string& path, const dense_mask_options& options) {
  const auto metadata = safetensors_file::open(path).metadata();
  const auto format = metadata.find("format");
  return format != metadata.end() && format->second == detail::mask_format
             ? read_mask(path)
             : read_dense_mask(path, options);
}

}  // namespace zoq

#endif
