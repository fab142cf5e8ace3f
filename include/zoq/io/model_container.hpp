// A model in a safetensors file, for formats that GGUF lacks. Any other will do too.
//
//     zoq::write_model_container("model.safetensors", metadata.metadata_bytes(), tensors);
//     zoq::model_file same = zoq::open_model_container("model.safetensors");
//
// For each tensor NAME, in the order of the model:
//
//     NAME.blocks     U8 [bytes]: the blocks of its format, row after row, as quant/ describes them
//     NAME.rows       U8 [bytes]: what each row owns beside them, for formats whose rows own something
//
// and at last "gguf.metadata", U8: a GGUF file without tensors, whose metadata are the model's sizes and
// its tokenizer. The file's own metadata: "format" = "zoq.model.1", and for each tensor "format NAME" =
// "lut4", "shape NAME" = "ROWS COLUMNS"; of one row is a norm's gain or a bias.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/model_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

/// A tensor to be written.
struct container_tensor {
  std::string name;    // as in GGUF files
  format_info format;  // of its blocks
  /// 1 for a gain or a bias.
  index_t rows = 0, columns = 0;  // of the matrix
  /// Calls the sink with the next bytes of the blocks, as often as it likes.
  std::function<void(const safetensor_source::sink&)> make;
  /// Called after `make`: what the rows own, rows * format.row_bytes bytes. None for other formats.
  std::function<std::span<const std::byte>()> row_data = {};
};

/// Writes tensor by tensor, whole or not at all. `gguf` is a GGUF file without tensors. Throws as
/// stream_safetensors does.
void write_model_container(const std::string& path, std::string_view gguf,
                           const std::vector<container_tensor>& tensors);

/// Maps and checks the file; what does not lie at a multiple of its members' size is copied. Throws
/// `error`, naming file and tensor, on anything that is not as described above.
model_file open_model_container(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include <memory>
#include <optional>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/mask_file.hpp"

namespace zoq {

namespace detail {
inline constexpr std::string_view container_format = "zoq.model.1";
inline constexpr std::string_view container_metadata = "gguf.metadata";
inline constexpr std::string_view format_key = "format ";
}  // namespace detail

ZOQ_BODY void write_model_container(const std::string& path, std::string_view gguf,
                                    const std::vector<container_tensor>& tensors) {
  safetensors_file::strings about = {{"format", std::string(detail::container_format)}};
  std::vector<safetensor_source> sources;
  for (const container_tensor& t : tensors) {
    about[std::string(detail::format_key) + t.name] = t.format.name;
    about[std::string(detail::shape_key) + t.name] = text(t.rows, " ", t.columns);
    sources.push_back({t.name + ".blocks", "U8", {t.format.bytes(t.rows, t.columns)}, t.make});
    if (t.format.row_bytes > 0) {
      sources.push_back(
          {t.name + ".rows", "U8", {t.rows * t.format.row_bytes}, [&t](const auto& put) {
             put(t.row_data());
           }});
    }
  }
  sources.push_back({std::string(detail::container_metadata),
                     "U8",
                     {static_cast<index_t>(gguf.size())},
                     [gguf](const auto& put) {
                       put(std::as_bytes(std::span<const char>(gguf.data(), gguf.size())));
                     }});
  stream_safetensors(path, sources, about);
}

namespace detail {

/// The U8 tensor `name` of `wanted` bytes, at a multiple of `alignment`.
ZOQ_BODY const std::byte* container_bytes(const safetensors_file& file, const std::string& name,
                                          index_t wanted, index_t alignment, model_bytes& bytes) {
  const safetensor& t = file.tensor(name);
  require(t.dtype == "U8" && static_cast<index_t>(t.bytes.size()) == wanted, file.path(),
          ": tensor ", printable(name), " has ", t.bytes.size(), " bytes of ", t.dtype, ", wanted ",
          wanted, " of U8");
  return aligned_bytes(t.bytes, alignment, bytes);
}

ZOQ_BODY stored_tensor container_tensor_of(const safetensors_file& file, const std::string& name,
                                           model_bytes& bytes) {
  const std::string where = text(file.path(), ": tensor ", printable(name));
  const std::string& format_name = file.metadata(std::string(format_key) + name);
  const std::optional<format_info> format = find_format(std::string_view(format_name));
  require(format.has_value(), where, " is of unknown format \"", printable(format_name), "\"");
  index_t rows = 0, columns = 0, size = 0, row_size = 0;
  read_shape(file, name, rows, columns);
  require(columns % format->block_size == 0, where, " has ", columns, " columns, no multiple of ",
          format->name, "'s block of ", format->block_size);
  require(multiply_checked(rows, columns / format->block_size, size) &&
              multiply_checked(size, format->block_bytes, size) &&
              multiply_checked(rows, format->row_bytes, row_size),
          where, " has more than 2^62 bytes");
  stored_tensor out;
  out.name = name;
  out.shape = rows == 1 ? std::vector<index_t>{columns} : std::vector<index_t>{columns, rows};
  out.type = format->gguf_type;
  out.format = format->name;
  out.byte_count = size;
  out.data = container_bytes(file, name + ".blocks", size, format->alignment, bytes);
  if (format->row_bytes > 0) {
    out.row_data = container_bytes(file, name + ".rows", row_size, format->alignment, bytes);
  }
  return out;
}

}  // namespace detail

ZOQ_BODY model_file open_model_container(const std::string& path) {
  const auto file = std::make_shared<const safetensors_file>(safetensors_file::open(path));
  require(file->metadata("format") == detail::container_format, path, ": the format is \"",
          printable(file->metadata("format")), "\", wanted \"", detail::container_format, "\"");
  const safetensor& gguf = file->tensor(detail::container_metadata);
  require(gguf.dtype == "U8", path, ": tensor ", gguf.name, " is of dtype ", gguf.dtype,
          ", wanted U8");
  model_bytes bytes;
  bytes.files.emplace_back(file, &file->file());
  const model_file read = detail::gguf_parser(path + ": " + gguf.name, gguf.bytes).parse({});
  require(read.tensors().empty(), path, ": ", gguf.name, " has tensors of its own");
  constexpr std::string_view blocks = ".blocks", rows = ".rows";
  std::vector<stored_tensor> tensors;
  std::size_t used = 1;  // gguf.metadata
  for (const safetensor& t : file->tensors()) {
    if (t.name.ends_with(blocks)) {
      tensors.push_back(detail::container_tensor_of(
          *file, t.name.substr(0, t.name.size() - blocks.size()), bytes));
      used += tensors.back().row_data == nullptr ? 1u : 2u;
    } else {
      require(t.name == detail::container_metadata || t.name.ends_with(rows), path, ": tensor ",
              printable(t.name), " is not part of a ", detail::container_format, " file");
    }
  }
  require(used == file->tensors().size(), path, ": ", file->tensors().size() - used,
          " tensors belong to no blocks");
  return {
      path, {read.metadata().begin(), read.metadata().end()}, std::move(tensors), std::move(bytes)};
}

}  // namespace zoq

#endif
