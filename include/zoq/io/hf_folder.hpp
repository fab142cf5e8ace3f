// A Hugging Face folder as a model_file: config.json, tokenizer.json, and the tensors of
// model.safetensors or of the shards that model.safetensors.index.json lists.
//
//     zoq::model_file file = zoq::open_hf_folder("SmolLM2-135M");
//     file.get_u64("llama.block_count");   file.matrix("blk.0.attn_q.weight");   // as of a GGUF file
//
// F32, F16 and BF16 tensors are used where they lie in the mapped files. Copied are those that must be
// transposed (GPT-2's matrices) and those that do not lie at a multiple of their values' size. The rows of
// a Llama's query and key stay as they are: see `zoq.rotary_halves` in io/hf_config.hpp. Without a
// tokenizer.json the file has no tokenizer. A folder may be hostile: the files' own bounds are checked
// by io/safetensors.hpp, and a shard's name cannot lead out of the folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

/// Maps and checks a folder. Throws `error`, naming file and key or tensor, on a file that is missing
/// or broken, a kind of model, tokenizer, setting or tensor that zoq does not know, tensors in other
/// formats than F32, F16 and BF16, and one that comes twice. Whether all tensors of the model are
/// there, in its sizes, is the model's reader's to say.
model_file open_hf_folder(const std::string& folder);

namespace detail {

/// The columns of `bytes` [rows, columns] one after another: [columns, rows].
std::shared_ptr<const std::vector<std::byte>> transposed_bytes(const std::byte* bytes, index_t rows,
                                                               index_t columns, index_t size);

}  // namespace detail
}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/gguf_writer.hpp"
#include "zoq/io/hf_config.hpp"
#include "zoq/io/hf_names.hpp"
#include "zoq/io/hf_tokenizer.hpp"
#include "zoq/io/json.hpp"
#include "zoq/io/mapped_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

namespace detail {

// Hugging Face's files nest further than rows of data. A tokenizer holds two values for each token, and up to three
// for each merge.
inline constexpr json_bounds hf_bounds = {.deepest = 16, .most_values = 1 << 20};
inline constexpr json_bounds hf_tokenizer_bounds = {.deepest = 16, .most_values = 1 << 22};

ZOQ_BODY nlohmann::json read_hf_json(const std::string& path) {
  const mapped_file file(path);
  return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path,
                    path.ends_with("/tokenizer.json") ? hf_tokenizer_bounds : hf_bounds);
}

/// The safetensors files of a folder. With an index, every tensor must lie where it says.
ZOQ_BODY std::vector<std::shared_ptr<const safetensors_file>> open_hf_shards(
    const std::string& folder) {
  std::vector<std::shared_ptr<const safetensors_file>> out;
  const auto open = [&](const std::string& name) {
    out.push_back(
        std::make_shared<const safetensors_file>(safetensors_file::open(folder + "/" + name)));
  };
  const std::string index = folder + "/model.safetensors.index.json";
  if (!exists_at(index)) {
    open("model.safetensors");
    return out;
  }
  const nlohmann::json parsed = read_hf_json(index);
  require(parsed.is_object(), index, ": is no JSON object");
  const nlohmann::json& map = json_member(parsed, "weight_map", index);
  require(map.is_object(), index, ": \"weight_map\" is no JSON object");
  std::map<std::string, std::set<std::string>> wanted;  // by shard
  for (const auto& [tensor, shard] : map.items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    require(name.ends_with(".safetensors") && name.find('/') == std::string::npos, index,
            ": tensor ", printable(tensor), " is in \"", printable(name),
            "\", wanted the name of a .safetensors file");
    wanted[name].insert(tensor);
  }
  for (const auto& [name, tensors] : wanted) {
    open(name);
    std::set<std::string> found;
    for (const safetensor& t : out.back()->tensors()) {
      require(tensors.contains(t.name), out.back()->path(), ": tensor ", printable(t.name),
              " is not in the index for this file");
      found.insert(t.name);
    }
    for (const std::string& tensor : tensors) {
      require(found.contains(tensor), out.back()->path(), ": tensor ", printable(tensor),
              " is missing, the index names it");
    }
  }
  return out;
}

/// The format of a dtype, with the bytes of a value. Throws, starting with `where`.
ZOQ_BODY format_info hf_format(const std::string& dtype, const std::string& where) {
  const char* name = dtype == "F32"    ? "f32"
                     : dtype == "F16"  ? "f16"
                     : dtype == "BF16" ? "bf16"
                                       : "";
  const std::optional<format_info> found = find_format(std::string_view(name));
  require(found.has_value(), where, " is of dtype ", printable(dtype), ", wanted F32, F16 or BF16");
  return *found;
}

ZOQ_BODY std::shared_ptr<const std::vector<std::byte>> transposed_bytes(const std::byte* bytes,
                                                                        index_t rows,
                                                                        index_t columns,
                                                                        index_t size) {
  auto out =
      std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(rows * columns * size));
  constexpr index_t tile = 32;  // rows whose cache lines are used while they are at hand
  for (index_t r0 = 0; r0 < rows; r0 += tile) {
    for (index_t c = 0; c < columns; ++c) {
      for (index_t r = r0; r < std::min(rows, r0 + tile); ++r) {
        std::memcpy(out->data() + (c * rows + r) * size, bytes + (r * columns + c) * size,
                    static_cast<std::size_t>(size));
      }
    }
  }
  return out;
}

/// The tensor `t` of a folder at `place`.
ZOQ_BODY stored_tensor hf_tensor(const safetensor& t, const hf_place& place,
                                 const std::string& where, model_bytes& bytes) {
  using take = hf_place::take;
  const format_info format = hf_format(t.dtype, where);
  const index_t size = format.block_bytes;
  require((t.shape.size() == 1 && place.what == take::all) || t.shape.size() == 2, where, " has ",
          t.shape.size(), " dimensions");
  require(std::all_of(t.shape.begin(), t.shape.end(), [](index_t n) { return n > 0; }), where,
          " has an extent of 0");
  stored_tensor out;
  out.name = place.name;
  out.type = format.gguf_type;
  out.format = format.name;
  out.shape.assign(t.shape.rbegin(), t.shape.rend());
  std::span<const std::byte> taken = t.bytes;
  if (place.what == take::transposed) {
    const auto copy = transposed_bytes(taken.data(), t.shape[0], t.shape[1], size);
    bytes.copies.push_back(copy);
    taken = *copy;
    std::swap(out.shape[0], out.shape[1]);
  } else if (place.what != take::all) {
    require(t.shape[0] % 2 == 0, where, " has ", t.shape[0], " rows, wanted two halves");
    out.shape[1] /= 2;
    const std::size_t half = taken.size() / 2;
    taken = taken.subspan(place.what == take::upper ? 0 : half, half);
  }
  out.data = aligned_bytes(taken, size, bytes);
  out.byte_count = static_cast<index_t>(taken.size());
  return out;
}

}  // namespace detail

ZOQ_BODY model_file open_hf_folder(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  gguf_writer metadata;
  const nlohmann::json config = detail::read_hf_json(config_path);
  const hf_family family = set_hf_config(config, config_path, metadata);

  model_bytes bytes;
  std::vector<stored_tensor> tensors;
  for (const auto& shard : detail::open_hf_shards(folder)) {
    bytes.files.emplace_back(shard, &shard->file());
    for (const safetensor& t : shard->tensors()) {
      const std::string where = text(shard->path(), ": tensor ", printable(t.name));
      const auto places = hf_places(family.name, t.name);
      require(places.has_value(), where, " is not part of a ", family.name,
              " model that zoq knows");
      for (const hf_place& place : *places) {
        if (family.tied && place.name == "output.weight") {
          continue;  // a copy of the embedding
        }
        tensors.push_back(detail::hf_tensor(t, place, where, bytes));
        const stored_tensor& last = tensors.back();
        require(last.name != "token_embd.weight" || last.rows() == family.vocabulary, where,
                " has ", last.rows(), " rows, \"vocab_size\" is ", family.vocabulary);
      }
    }
  }
  const auto has = [&](std::string_view name) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const auto& t) { return t.name == name; });
  };
  require(
      family.tied || has("output.weight"), folder,
      ": the head, lm_head.weight, is missing, and config.json does not tie it to the embedding");
  require(has("token_embd.weight"), folder, ": the embedding is missing");

  const std::string words = folder + "/tokenizer.json";
  if (exists_at(words)) {
    const std::string more = folder + "/tokenizer_config.json";
    set_hf_tokenizer(detail::read_hf_json(words), words, config, config_path,
                     exists_at(more) ? detail::read_hf_json(more) : nlohmann::json::object(), more,
                     family.vocabulary, metadata);
  }
  const auto header = std::make_shared<const std::string>(metadata.metadata_bytes());
  bytes.copies.push_back(header);
  const model_file read =
      detail::gguf_parser(folder, std::as_bytes(std::span<const char>(*header))).parse({});
  return {folder,
          {read.metadata().begin(), read.metadata().end()},
          std::move(tensors),
          std::move(bytes)};
}

}  // namespace zoq

#endif
