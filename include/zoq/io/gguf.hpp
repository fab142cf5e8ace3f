// GGUF version 3: metadata and tensors in one file, read where they lie in the mapped file.
//
//     zoq::gguf_file file = zoq::gguf_file::open("model.gguf");
//     std::uint64_t layers = file.get_u64("llama.block_count");
//     zoq::any_packed w = file.matrix("blk.0.attn_q.weight");     // [O, C], valid while file lives
//
// Layout, little-endian: "GGUF", u32 version, u64 tensors, u64 metadata entries; the entries
// (string key, u32 kind, value; an array is u32 kind, u64 count, values; a string is u64 length,
// bytes); for each tensor its name, u32 dimensions, u64 extents with the fastest first, u32 type,
// u64 offset; then, padded to general.alignment (32 if absent), the tensor data that the offsets
// count from. Source: the GGUF specification (ggml project). A file may be hostile: every count,
// length and offset is checked against the file's size before it is used.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/gguf_kind.hpp"
#include "zoq/io/mapped_file.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

/// One tensor, where it lies in the file.
struct gguf_tensor {
  std::string name;
  std::vector<index_t> shape;       // 1 to 4 extents, fastest first: shape[0] is the columns
  std::uint32_t type = 0;           // GGUF type id; zoq::find_format says whether it is known
  const std::byte* data = nullptr;  // valid while the file lives
  index_t byte_count = -1;          // -1 when the type is unknown

  [[nodiscard]] index_t columns() const { return shape[0]; }
  /// Product of the other extents: n values in one dimension are a 1 x n matrix.
  [[nodiscard]] index_t rows() const {
    index_t n = 1;
    for (std::size_t d = 1; d < shape.size(); ++d) {
      n *= shape[d];
    }
    return n;
  }
};

class gguf_file {
 public:
  /// Maps and checks the file; tensor data is neither read nor copied. A tensor of a type that zoq
  /// does not know is listed. Throws `error`, naming the file and the place, on anything wrong.
  /// Cost: linear in the metadata.
  static gguf_file open(const std::string& path) { return gguf_file(mapped_file(path)); }

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] const mapped_file& file() const { return file_; }

  /// All metadata, in the order of the file.
  [[nodiscard]] std::span<const gguf_value> metadata() const { return values_; }
  [[nodiscard]] bool has(std::string_view key) const { return value_numbers_.contains(key); }

  // The typed getters throw, naming file, key, the kind found and the kind wanted, when the key is
  // missing or its value does not fit.

  [[nodiscard]] std::string get_string(std::string_view key) const {
    return std::string(reader_of(value(key, "a string", gguf_kind::string)).take_string(key));
  }

  /// From any integer kind.
  [[nodiscard]] std::uint64_t get_u64(std::string_view key) const {
    const gguf_value& v = integer(key);
    if (is_signed(v.kind)) {
      const std::int64_t n = get_i64(key);
      require(n >= 0, path(), ": metadata ", printable(key), " is ", n,
              ", wanted no negative value");
      return static_cast<std::uint64_t>(n);
    }
    return read_number<std::uint64_t>(v.kind, v.bytes.data());
  }

  /// From any integer kind.
  [[nodiscard]] std::int64_t get_i64(std::string_view key) const {
    const gguf_value& v = integer(key);
    const auto n = read_number<std::int64_t>(v.kind, v.bytes.data());
    require(v.kind != gguf_kind::u64 || n >= 0, path(), ": metadata ", printable(key),
            " does not fit into 63 bits");
    return n;
  }

  /// From f32 or f64.
  [[nodiscard]] double get_float(std::string_view key) const {
    const gguf_value& v = value(key);
    require(is_float(v.kind), unfit(v), ", wanted a floating-point number");
    return read_number<double>(v.kind, v.bytes.data());
  }

  [[nodiscard]] bool get_bool(std::string_view key) const {
    const gguf_value& v = value(key, "a bool", gguf_kind::boolean);
    return v.bytes[0] != std::byte{0};
  }

  /// Views of the strings in the file, valid while it lives.
  [[nodiscard]] std::vector<std::string_view> get_strings(std::string_view key) const {
    const gguf_value& v = array(key, "strings", [](gguf_kind k) { return k == gguf_kind::string; });
    std::vector<std::string_view> out;
    out.reserve(static_cast<std::size_t>(v.count));
    byte_reader in = reader_of(v);
    for (std::uint64_t i = 0; i < v.count; ++i) {
      out.push_back(in.take_string(key));
    }
    return out;
  }

  /// From an array of any integer kind; values above 2^63 - 1 wrap.
  [[nodiscard]] std::vector<std::int64_t> get_integers(std::string_view key) const {
    return numbers<std::int64_t>(array(key, "integers", is_integer));
  }

  /// From an array of f32 or f64.
  [[nodiscard]] std::vector<double> get_floats(std::string_view key) const {
    return numbers<double>(array(key, "floating-point numbers", is_float));
  }

  /// All tensors, in the order of the file.
  [[nodiscard]] std::span<const gguf_tensor> tensors() const { return tensors_; }

  /// The tensor of this name, or null.
  [[nodiscard]] const gguf_tensor* find(std::string_view name) const {
    const auto at = tensor_numbers_.find(name);
    return at == tensor_numbers_.end() ? nullptr : &tensors_[at->second];
  }

  /// The tensor of this name. Throws, naming file and tensor, when there is none.
  [[nodiscard]] const gguf_tensor& tensor(std::string_view name) const {
    const gguf_tensor* found = find(name);
    require(found != nullptr, path(), ": tensor ", printable(name), " is missing");
    return *found;
  }

  /// The tensor of this name as a matrix [O, C] of its format. Throws, naming file, tensor and
  /// type, when it is missing or zoq does not know its format.
  [[nodiscard]] any_packed matrix(std::string_view name) const {
    const gguf_tensor& t = tensor(name);
    return packed_as(t.type, t.data, t.rows(), t.columns(),
                     text(path(), ": tensor ", printable(t.name)));
  }

 private:
  using numbers_by_name = std::map<std::string_view, std::size_t>;  // keys lie in the file
  static constexpr std::uint64_t most = std::uint64_t{1} << 62;     // of values, bytes, offsets

  explicit gguf_file(mapped_file file) : file_(std::move(file)) {
    byte_reader in(file_.bytes(), path());
    require(in.left() != 0, path(), ": not a GGUF file: it is empty");
    require(in.left() >= 4 && std::memcmp(in.here(), "GGUF", 4) == 0, path(), ": not a GGUF file");
    in.skip(4);
    const auto version = in.take<std::uint32_t>("the version");
    require(version == 3 || (version & 0xffffu) != 0, path(),
            ": a big-endian GGUF file, zoq reads little-endian ones");
    require(version == 3, path(), ": GGUF version ", version, ", zoq reads version 3");
    const auto tensor_count = in.take<std::uint64_t>("the tensor count");
    const auto value_count = in.take<std::uint64_t>("the metadata count");
    in.expect(value_count, 8 + 4 + 1, "the metadata count");
    for (std::uint64_t i = 0; i < value_count; ++i) {
      read_value(in, i);
    }
    in.expect(tensor_count, 8 + 4 + 8 + 4 + 8, "the tensor count");
    const std::uint64_t step = data_alignment();
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < tensor_count; ++i) {
      offsets.push_back(read_tensor(in, i));
    }
    const std::uint64_t first = (in.position() + step - 1) / step * step;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      place(tensors_[i], first, offsets[i], step);
    }
  }

  void read_value(byte_reader& in, std::uint64_t number) {
    gguf_value v;
    v.key = in.take_string("metadata key ", number);
    const std::string name = "metadata " + printable(v.key);
    v.kind = read_kind(in, name);
    if (v.kind == gguf_kind::array) {
      v.element = read_kind(in, name);
      v.count = in.take<std::uint64_t>(name);
      const std::byte* start = in.here();
      skip_elements(in, v.element, v.count, name, 1);
      v.bytes = {start, in.here()};
    } else {
      const std::byte* start = in.here();
      skip_elements(in, v.kind, 1, name, 0);
      v.bytes = {start, in.here()};
    }
    require(v.kind != gguf_kind::boolean || v.bytes[0] <= std::byte{1}, path(), ": ", name,
            " is neither true nor false");
    require(value_numbers_.emplace(v.key, values_.size()).second, path(), ": ", name,
            " comes twice");
    values_.push_back(v);
  }

  gguf_kind read_kind(byte_reader& in, const std::string& name) const {
    const auto id = in.take<std::uint32_t>(name);
    require(id <= static_cast<std::uint32_t>(gguf_kind::f64), path(), ": ", name,
            " has unknown kind ", id);
    return static_cast<gguf_kind>(id);
  }

  void skip_elements(byte_reader& in, gguf_kind kind, std::uint64_t count, const std::string& name,
                     int depth) const {
    constexpr int deepest = 4;  // bounds the recursion; real files have arrays of depth 1
    require(depth <= deepest, path(), ": ", name, " nests arrays deeper than ", deepest);
    in.expect(count, least_bytes(kind), "the element count of ", name);
    if (kind == gguf_kind::string) {
      for (std::uint64_t i = 0; i < count; ++i) {
        in.take_string(name);
      }
    } else if (kind == gguf_kind::array) {
      for (std::uint64_t i = 0; i < count; ++i) {
        const gguf_kind element = read_kind(in, name);
        skip_elements(in, element, in.take<std::uint64_t>(name), name, depth + 1);
      }
    } else {
      in.skip(count * least_bytes(kind), name);
    }
  }

  std::uint64_t data_alignment() const {
    const std::uint64_t bytes =
        has("general.alignment") ? get_u64("general.alignment") : std::uint64_t{32};
    // 8 is the specification's least, and what the blocks' members need.
    require(std::has_single_bit(bytes) && bytes >= 8 && bytes <= std::uint64_t{1} << 31, path(),
            ": metadata general.alignment is ", bytes, ", wanted a power of two from 8 up");
    return bytes;
  }

  std::uint64_t read_tensor(byte_reader& in, std::uint64_t number) {
    const std::string_view key = in.take_string("the name of tensor ", number);
    gguf_tensor t;
    t.name = std::string(key);
    const std::string name = "tensor " + printable(key);
    const auto dimensions = in.take<std::uint32_t>(name);
    require(dimensions >= 1 && dimensions <= 4, path(), ": ", name, " has ", dimensions,
            " dimensions, wanted 1 to 4");
    index_t size = 1;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      const auto extent = in.take<std::uint64_t>(name);
      require(extent != 0, path(), ": ", name, " has an extent of 0");
      require(extent <= most && multiply_checked(size, static_cast<index_t>(extent), size), path(),
              ": ", name, " has more than 2^62 values");
      t.shape.push_back(static_cast<index_t>(extent));
    }
    t.type = in.take<std::uint32_t>(name);
    const auto offset = in.take<std::uint64_t>(name);
    require(tensor_numbers_.emplace(key, tensors_.size()).second, path(), ": ", name,
            " comes twice");
    tensors_.push_back(std::move(t));
    return offset;
  }

  void place(gguf_tensor& t, std::uint64_t first, std::uint64_t offset, std::uint64_t step) const {
    const std::string name = text("tensor ", printable(t.name));
    const std::uint64_t size = file_.bytes().size();
    require(offset % step == 0, path(), ": ", name, " is at offset ", offset,
            ", no multiple of the alignment ", step);
    require(offset <= most, path(), ": ", name, " is at offset ", offset, ", the file has ", size);
    const std::uint64_t start = first + offset;
    require(start <= size, path(), ": ", name, " starts at byte ", start, ", the file has ", size);
    t.data = file_.bytes().data() + start;
    const auto format = find_format(t.type);
    if (!format) {
      return;
    }
    require(t.columns() % format->block_size == 0, path(), ": ", name, " has ", t.columns(),
            " columns, no multiple of ", format->name, "'s block of ", format->block_size);
    index_t bytes = t.columns() / format->block_size;
    require(multiply_checked(bytes, t.rows(), bytes) &&
                multiply_checked(bytes, format->block_bytes, bytes),
            path(), ": ", name, " has more than 2^62 bytes");
    const std::uint64_t end = start + static_cast<std::uint64_t>(bytes);
    require(end <= size, path(), ": ", name, " ends at byte ", end, ", the file has ", size);
    t.byte_count = bytes;
  }

  const gguf_value& value(std::string_view key) const {
    const auto at = value_numbers_.find(key);
    require(at != value_numbers_.end(), path(), ": metadata ", printable(key), " is missing");
    return values_[at->second];
  }
  const gguf_value& value(std::string_view key, const char* wanted, gguf_kind kind) const {
    const gguf_value& v = value(key);
    require(v.kind == kind, unfit(v), ", wanted ", wanted);
    return v;
  }
  const gguf_value& integer(std::string_view key) const {
    const gguf_value& v = value(key);
    require(is_integer(v.kind), unfit(v), ", wanted an integer");
    return v;
  }
  template <class Fits>
  const gguf_value& array(std::string_view key, const char* wanted, Fits fits) const {
    const gguf_value& v = value(key);
    require(v.kind == gguf_kind::array && fits(v.element), unfit(v), ", wanted an array of ",
            wanted);
    return v;
  }
  std::string unfit(const gguf_value& v) const {
    return text(path(), ": metadata ", printable(v.key), " is ",
                v.kind == gguf_kind::array ? text("an array of ", name_of(v.element))
                                           : text("of kind ", name_of(v.kind)));
  }
  byte_reader reader_of(const gguf_value& v) const { return {v.bytes, path()}; }

  template <class T>
  static std::vector<T> numbers(const gguf_value& v) {
    std::vector<T> out(static_cast<std::size_t>(v.count));
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = read_number<T>(v.element, v.bytes.data() + i * least_bytes(v.element));
    }
    return out;
  }

  mapped_file file_;
  std::vector<gguf_value> values_;
  std::vector<gguf_tensor> tensors_;
  numbers_by_name value_numbers_;
  numbers_by_name tensor_numbers_;
};

}  // namespace zoq
