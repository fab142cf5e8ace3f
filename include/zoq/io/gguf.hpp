// GGUF version 3: metadata and tensors in one file, read where they lie in the mapped file.
//
//     zoq::model_file file = zoq::open_gguf("model.gguf");
//     std::uint64_t layers = file.get_u64("llama.block_count");
//     zoq::any_packed w = file.matrix("blk.0.attn_q.weight");     // [O, C], valid while file lives
//
// Layout, little-endian: "GGUF", u32 version, u64 tensors, u64 metadata entries; the entries
// (string key, u32 kind, value; an array is u32 kind, u64 count, values; a string is u64 length,
// bytes); for each tensor its name, u32 dimensions, u64 extents with the fastest first, u32 type,
// u64 offset; then, padded to general.alignment (32 if absent), the tensor data that the offsets
// count from. Source: the GGUF specification (ggml project). A file may be hostile: every count,
// length and offset is checked against the file's size before it is used, tensors must not overlap, and
// their number and that of the metadata are bounded: the tables take at most 32 MB.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/gguf_kind.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

namespace detail {

/// Reads GGUF bytes; `bytes` lie in `owner`, which the result keeps.
class gguf_parser {
 public:
  gguf_parser(std::string path, std::span<const std::byte> bytes)
      : path_(path), all_(bytes), in_(bytes, std::move(path)) {}

  model_file parse(model_bytes owner);

 private:
  static constexpr std::uint64_t most = std::uint64_t{1} << 62;  // of values, bytes, offsets
  static constexpr std::uint64_t most_values = 1u << 16, most_tensors = 1u << 14;
  gguf_value read_value(std::uint64_t number);

  gguf_kind read_kind(const std::string& name);
  void skip_elements(gguf_kind kind, std::uint64_t count, const std::string& name, int depth);

  std::uint64_t data_alignment(const model_file& file) const;
  std::uint64_t read_tensor(std::uint64_t number, std::vector<stored_tensor>& tensors);

  void place(stored_tensor& t, std::uint64_t first, std::uint64_t offset, std::uint64_t step) const;

  // Else a small file could hold a large model, tensor upon tensor. Of an unknown format the end is not
  // known.
  void require_apart(const std::vector<stored_tensor>& tensors) const;

  std::string path_;
  std::span<const std::byte> all_;
  byte_reader in_;
};

}  // namespace detail

/// Maps and checks a GGUF file; tensor data is neither read nor copied. A tensor of a type that zoq
/// does not know is listed. Throws `error`, naming the file and the place, on anything wrong.
/// Cost: linear in the metadata.
model_file open_gguf(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <string_view>

#include "zoq/core/error.hpp"
#include "zoq/io/mapped_file.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY model_file gguf_parser::parse(model_bytes owner) {
  require(in_.left() != 0, path_, ": not a GGUF file: it is empty");
  require(in_.left() >= 4 && std::memcmp(in_.here(), "GGUF", 4) == 0, path_, ": not a GGUF file");
  in_.skip(4);
  const auto version = in_.take<std::uint32_t>("the version");
  require(version == 3 || (version & 0xffffu) != 0, path_,
          ": a big-endian GGUF file, zoq reads little-endian ones");
  require(version == 3, path_, ": GGUF version ", version, ", zoq reads version 3");
  const auto tensor_count = in_.take<std::uint64_t>("the tensor count");
  const auto value_count = in_.take<std::uint64_t>("the metadata count");
  in_.expect(value_count, 8 + 4 + 1, "the metadata count");
  require(value_count <= most_values, path_, ": the metadata count is ", value_count,
          ", zoq reads up to ", most_values);
  std::vector<gguf_value> values;
  for (std::uint64_t i = 0; i < value_count; ++i) {
    values.push_back(read_value(i));
  }
  in_.expect(tensor_count, 8 + 4 + 8 + 4 + 8, "the tensor count");
  require(tensor_count <= most_tensors, path_, ": the tensor count is ", tensor_count,
          ", zoq reads up to ", most_tensors);
  const std::uint64_t step = data_alignment(model_file(path_, values, {}, {}));
  std::vector<stored_tensor> tensors;
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    offsets.push_back(read_tensor(i, tensors));
  }
  const std::uint64_t first = (in_.position() + step - 1) / step * step;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    place(tensors[i], first, offsets[i], step);
  }
  require_apart(tensors);
  return {path_, std::move(values), std::move(tensors), std::move(owner)};
}

ZOQ_BODY gguf_value gguf_parser::read_value(std::uint64_t number) {
  gguf_value v;
  v.key = in_.take_string("metadata key ", number);
  const std::string name = "metadata " + printable(v.key);
  v.kind = read_kind(name);
  if (v.kind == gguf_kind::array) {
    v.element = read_kind(name);
    v.count = in_.take<std::uint64_t>(name);
    const std::byte* start = in_.here();
    skip_elements(v.element, v.count, name, 1);
    v.bytes = {start, in_.here()};
  } else {
    const std::byte* start = in_.here();
    skip_elements(v.kind, 1, name, 0);
    v.bytes = {start, in_.here()};
  }
  require(v.kind != gguf_kind::boolean || v.bytes[0] <= std::byte{1}, path_, ": ", name,
          " is neither true nor false");
  return v;
}

ZOQ_BODY gguf_kind gguf_parser::read_kind(const std::string& name) {
  const auto id = in_.take<std::uint32_t>(name);
  require(id <= static_cast<std::uint32_t>(gguf_kind::f64), path_, ": ", name, " has unknown kind ",
          id);
  return static_cast<gguf_kind>(id);
}

ZOQ_BODY void gguf_parser::skip_elements(gguf_kind kind, std::uint64_t count,
                                         const std::string& name, int depth) {
  constexpr int deepest = 4;  // bounds the recursion; real files have arrays of depth 1
  require(depth <= deepest, path_, ": ", name, " nests arrays deeper than ", deepest);
  in_.expect(count, least_bytes(kind), "the element count of ", name);
  if (kind == gguf_kind::string) {
    for (std::uint64_t i = 0; i < count; ++i) {
      in_.take_string(name);
    }
  } else if (kind == gguf_kind::array) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const gguf_kind element = read_kind(name);
      skip_elements(element, in_.take<std::uint64_t>(name), name, depth + 1);
    }
  } else {
    in_.skip(count * least_bytes(kind), name);
  }
}

ZOQ_BODY std::uint64_t gguf_parser::data_alignment(const model_file& file) const {
  const std::uint64_t bytes =
      file.has("general.alignment") ? file.get_u64("general.alignment") : std::uint64_t{32};
  // 8 is the specification's least, and what the blocks' members need.
  require(std::has_single_bit(bytes) && bytes >= 8 && bytes <= std::uint64_t{1} << 31, path_,
          ": metadata general.alignment is ", bytes, ", wanted a power of two from 8 up");
  return bytes;
}

ZOQ_BODY std::uint64_t gguf_parser::read_tensor(std::uint64_t number,
                                                std::vector<stored_tensor>& tensors) {
  const std::string_view key = in_.take_string("the name of tensor ", number);
  stored_tensor t;
  t.name = std::string(key);
  const std::string name = "tensor " + printable(key);
  const auto dimensions = in_.take<std::uint32_t>(name);
  require(dimensions >= 1 && dimensions <= 4, path_, ": ", name, " has ", dimensions,
          " dimensions, wanted 1 to 4");
  index_t size = 1;
  for (std::uint32_t d = 0; d < dimensions; ++d) {
    const auto extent = in_.take<std::uint64_t>(name);
    require(extent != 0, path_, ": ", name, " has an extent of 0");
    require(extent <= most && multiply_checked(size, static_cast<index_t>(extent), size), path_,
            ": ", name, " has more than 2^62 values");
    t.shape.push_back(static_cast<index_t>(extent));
  }
  t.type = in_.take<std::uint32_t>(name);
  const auto offset = in_.take<std::uint64_t>(name);
  tensors.push_back(std::move(t));
  return offset;
}

ZOQ_BODY void gguf_parser::place(stored_tensor& t, std::uint64_t first, std::uint64_t offset,
                                 std::uint64_t step) const {
  const std::string name = text("tensor ", printable(t.name));
  const std::uint64_t size = all_.size();
  require(offset % step == 0, path_, ": ", name, " is at offset ", offset,
          ", no multiple of the alignment ", step);
  require(offset <= most, path_, ": ", name, " is at offset ", offset, ", the file has ", size);
  const std::uint64_t start = first + offset;
  require(start <= size, path_, ": ", name, " starts at byte ", start, ", the file has ", size);
  t.data = all_.data() + start;
  const auto format = find_format(t.type);
  if (!format) {
    return;
  }
  require(t.columns() % format->block_size == 0, path_, ": ", name, " has ", t.columns(),
          " columns, no multiple of ", format->name, "'s block of ", format->block_size);
  index_t bytes = t.columns() / format->block_size;
  require(multiply_checked(bytes, t.rows(), bytes) &&
              multiply_checked(bytes, format->block_bytes, bytes),
          path_, ": ", name, " has more than 2^62 bytes");
  const std::uint64_t end = start + static_cast<std::uint64_t>(bytes);
  require(end <= size, path_, ": ", name, " ends at byte ", end, ", the file has ", size);
  t.byte_count = bytes;
  t.format = format->name;
}

ZOQ_BODY void gguf_parser::require_apart(const std::vector<stored_tensor>& tensors) const {
  std::vector<const stored_tensor*> by_place;
  for (const stored_tensor& t : tensors) {
    by_place.push_back(&t);
  }
  std::sort(by_place.begin(), by_place.end(),
            [](const auto* a, const auto* b) { return a->data < b->data; });
  for (std::size_t i = 1; i < by_place.size(); ++i) {
    const stored_tensor &before = *by_place[i - 1], &t = *by_place[i];
    require(t.data - before.data >= std::max<index_t>(before.byte_count, 0), path_, ": tensor ",
            printable(t.name), " overlaps ", printable(before.name));
  }
}

}  // namespace detail

ZOQ_BODY model_file open_gguf(const std::string& path) {
  const auto file = std::make_shared<const mapped_file>(path);
  return detail::gguf_parser(path, file->bytes()).parse({{file}, {}});
}

}  // namespace zoq

#endif
