// Masks as safetensors files: made once, used for many tasks, and by other tools.
//
//     zoq::write_mask("mask.safetensors", mask);
//     zoq::mask same = zoq::read_mask("mask.safetensors");
//
// One I32 tensor [n] for each matrix, under the matrix's name: ascending flat indices
// (row * columns + column). The metadata holds "format" = "zoq.mask.1", "model" (the hash of the model that it was
// made for), "shape NAME" = "ROWS COLUMNS" for each matrix, and what the mask was made from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/sparse/mask.hpp"

namespace zoq {

/// Written whole or not at all. Throws, naming the file.
void write_mask(const std::string& path, const mask& m);

/// Throws, naming file and tensor, on anything that is not a valid mask.
mask read_mask(const std::string& path);

/// Throws unless `m` was made for the model of this hash (or for none in particular).
void require_model(const mask& m, const std::string& model_hash, const std::string& source);

namespace detail {

inline constexpr std::string_view mask_format = "zoq.mask.1";
inline constexpr std::string_view shape_key = "shape ";

/// "ROWS COLUMNS" of the matrix.
std::string shape_text(const tensor_mask& t);

/// "ROWS COLUMNS" of tensor `name`. Throws, naming file and tensor.
void read_shape(const safetensors_file& file, const std::string& name, index_t& rows,
                index_t& columns);

}  // namespace detail
}  // namespace zoq

#if ZOQ_BODIES

#include <charconv>
#include <cstdint>
#include <map>
#include <system_error>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY std::string shape_text(const tensor_mask& t) {
  return std::to_string(t.rows) + " " + std::to_string(t.columns);
}

ZOQ_BODY void read_shape(const safetensors_file& file, const std::string& name, index_t& rows,
                         index_t& columns) {
  const std::string& text = file.metadata(std::string(shape_key) + name);
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, rows);
  const bool space = first.ec == std::errc() && first.ptr != end && *first.ptr == ' ';
  const auto second = std::from_chars(first.ptr + (space ? 1 : 0), end, columns);
  require(space && second.ec == std::errc() && second.ptr == end && rows > 0 && columns > 0,
          file.path(), ": the shape of ", printable(name), " is \"", printable(text),
          "\", wanted \"ROWS COLUMNS\"");
}

}  // namespace detail

ZOQ_BODY void write_mask(const std::string& path, const mask& m) {
  m.validate();
  std::map<std::string, std::string> about = m.about;
  about["format"] = detail::mask_format;
  about["model"] = m.model_hash;
  std::vector<safetensor> tensors;
  for (const tensor_mask& t : m.tensors) {
    about[std::string(detail::shape_key) + t.tensor] = detail::shape_text(t);
    tensors.push_back(
        safetensor_of<std::int32_t>(t.tensor, {static_cast<index_t>(t.index.size())}, t.index));
  }
  write_safetensors(path, tensors, about);
}

ZOQ_BODY mask read_mask(const std::string& path) {
  const safetensors_file file = safetensors_file::open(path);
  require(file.metadata("format") == detail::mask_format, path, ": the format is \"",
          printable(file.metadata("format")), "\", wanted \"", detail::mask_format, "\"");
  mask m;
  for (const safetensor& t : file.tensors()) {
    tensor_mask one{t.name, 0, 0, file.values<std::int32_t>(t.name)};
    detail::read_shape(file, t.name, one.rows, one.columns);
    m.tensors.push_back(std::move(one));
  }
  for (const auto& [key, value] : file.metadata()) {
    if (key == "model") {
      m.model_hash = value;
    } else if (key != "format" && !key.starts_with(detail::shape_key)) {
      m.about[key] = value;
    }
  }
  try {
    m.validate();
  } catch (const error& e) {
    fail(path, ": ", printable(e.what(), 400));
  }
  return m;
}

ZOQ_BODY void require_model(const mask& m, const std::string& model_hash,
                            const std::string& source) {
  require(m.model_hash.empty() || m.model_hash == model_hash, source,
          ": made for another model: it names ", printable(m.model_hash), ", this model is ",
          model_hash);
}

}  // namespace zoq

#endif
