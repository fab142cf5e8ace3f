// Deltas: the tuned values of a sparse view as a small file that goes with the unchanged model.
//
//     zoq::save_delta("delta.safetensors", view);
//     zoq::delta d = zoq::read_delta("delta.safetensors");
//
// For each matrix NAME: "NAME.index" I32 [n], ascending flat indices (row * columns + column), and
// "NAME.offset" F32 [n]. The weight in use is decode(base) + offset at these entries. The metadata
// holds "format" = "zoq.delta.1", "model" (the base's hash), and "shape NAME" = "ROWS COLUMNS".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/sparse/delta.hpp"

namespace zoq {

namespace detail {
inline constexpr std::string_view delta_format = "zoq.delta.1";

/// Throws, naming the file, the tensor and the place, on a value that is NaN or infinite.
void require_finite_values(const std::string& path, const std::string& tensor,
                           std::span<const float> values);
}  // namespace detail

/// Written whole or not at all. `about` is added to the metadata. Throws, naming the file, when it
/// cannot be written, when the values are not one for each entry, and, naming the tensor, when one is not
/// finite.
void write_delta(const std::string& path, const delta& d,
                 const std::map<std::string, std::string>& about = {});

/// The tuned values of a view as a file; see write_delta.
template <class View>
void save_delta(const std::string& path, const View& view,
                const std::map<std::string, std::string>& about = {}) {
  write_delta(path, view.to_delta(), about);
}

/// Throws, naming file and tensor, on anything that is not a valid delta; on values that are not
/// finite too.
delta read_delta(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/safetensors.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void require_finite_values(const std::string& path, const std::string& tensor,
                                    std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    require(std::isfinite(values[i]), path, ": ", printable(tensor), ": value ", i, " is ",
            values[i]);
  }
}

}  // namespace detail

ZOQ_BODY void write_delta(const std::string& path, const delta& d,
                          const std::map<std::string, std::string>& about) {
  require(static_cast<index_t>(d.values.size()) == d.places.count(), path, ": ", d.values.size(),
          " values for ", d.places.count(), " places");
  std::map<std::string, std::string> metadata = about;
  metadata["format"] = detail::delta_format;
  metadata["model"] = d.places.model_hash;
  std::vector<safetensor> tensors;
  std::size_t first = 0;
  for (const tensor_mask& t : d.places.tensors) {
    const auto n = static_cast<index_t>(t.index.size());
    const auto values = std::span<const float>(d.values).subspan(first, t.index.size());
    detail::require_finite_values(path, t.tensor + ".offset", values);
    metadata[std::string(detail::shape_key) + t.tensor] = detail::shape_text(t);
    tensors.push_back(safetensor_of<std::int32_t>(t.tensor + ".index", {n}, t.index));
    tensors.push_back(safetensor_of<float>(t.tensor + ".offset", {n}, values));
    first += t.index.size();
  }
  write_safetensors(path, tensors, metadata);
}

ZOQ_BODY delta read_delta(const std::string& path) {
  const safetensors_file file = safetensors_file::open(path);
  require(file.metadata("format") == detail::delta_format, path, ": the format is \"",
          printable(file.metadata("format")), "\", wanted \"", detail::delta_format, "\"");
  delta d;
  d.places.model_hash = file.metadata("model");
  constexpr std::string_view suffix = ".index";
  for (const safetensor& t : file.tensors()) {
    if (!t.name.ends_with(suffix)) {
      const std::string places = t.name.substr(0, t.name.rfind('.')).append(suffix);
      require(t.name.ends_with(".offset") && file.find(places) != nullptr, path, ": tensor ",
              printable(t.name), " belongs to no places");
      continue;
    }
    const std::string name = t.name.substr(0, t.name.size() - suffix.size());
    tensor_mask one{name, 0, 0, file.values<std::int32_t>(t.name)};
    detail::read_shape(file, name, one.rows, one.columns);
    const std::vector<float> values = file.values<float>(name + ".offset");
    require(values.size() == one.index.size(), path, ": ", printable(name), " has ", values.size(),
            " offsets for ", one.index.size(), " places");
    detail::require_finite_values(path, name + ".offset", values);
    d.values.insert(d.values.end(), values.begin(), values.end());
    d.places.tensors.push_back(std::move(one));
  }
  try {
    d.places.validate();
  } catch (const error& e) {
    fail(path, ": ", printable(e.what(), 400));
  }
  return d;
}

}  // namespace zoq

#endif
