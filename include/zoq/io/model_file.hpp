// A model as its file holds it, whatever the file: metadata under GGUF's keys, and a table of tensors
// under GGUF's names. Readers of models and tokenizers know this type alone.
//
//     zoq::model_file file = zoq::open_gguf("model.gguf");           // io/gguf.hpp
//     zoq::model_file same = zoq::open_model_file("a_folder");       // io/open_model_file.hpp
//     std::uint64_t layers = file.get_u64("llama.block_count");
//     zoq::any_packed w = file.matrix("blk.0.attn_q.weight");        // [O, C], valid while file lives
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
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

/// One tensor, where it lies.
struct stored_tensor {
  std::string name;                     // as in GGUF files
  std::vector<index_t> shape;           // 1 to 4 extents, fastest first: shape[0] is the columns
  std::uint32_t type = no_gguf_type;    // GGUF type id, if the format has one
  std::string_view format = {};         // zoq's name of it; empty when zoq does not know it
  const std::byte* data = nullptr;      // the blocks; valid while the model_file lives
  const std::byte* row_data = nullptr;  // what rows own beside them, or null
  index_t byte_count = -1;              // of the blocks; -1 when the format is unknown

  /// The fastest extent.
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

/// What the bytes of metadata and tensors lie in. A copy shares it.
struct model_bytes {
  std::vector<std::shared_ptr<const mapped_file>> files;  // as they lie on the disk
  std::vector<std::shared_ptr<const void>> copies;        // what could not be used where it lay
};

/// Where the bytes lie or, when that is no multiple of `multiple`, a copy, kept in `bytes`.
const std::byte* aligned_bytes(std::span<const std::byte> there, index_t multiple,
                               model_bytes& bytes);

/// A value: copies are cheap beside the files, which they share.
class model_file {
 public:
  /// `path` starts every message. The keys and bytes of `values`, and the data of `tensors`, lie in
  /// `bytes`. Throws `error`, naming path and key or tensor, on one that comes twice.
  model_file(std::string path, std::vector<gguf_value> values, std::vector<stored_tensor> tensors,
             model_bytes bytes);

  /// What starts every message.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Gives the pages of the files in memory back to the system.
  void drop_pages() const;

  /// All metadata, in the order of the file.
  [[nodiscard]] std::span<const gguf_value> metadata() const { return values_; }
  /// True when there is metadata of this key.
  [[nodiscard]] bool has(std::string_view key) const { return value_numbers_.contains(key); }

  // The typed getters throw, naming file, key, the kind found and the kind wanted, when the key is
  // missing or its value does not fit.

  /// From a string.
  [[nodiscard]] std::string get_string(std::string_view key) const;

  /// From any integer kind.
  [[nodiscard]] std::uint64_t get_u64(std::string_view key) const;

  /// From any integer kind.
  [[nodiscard]] std::int64_t get_i64(std::string_view key) const;

  /// From f32 or f64.
  [[nodiscard]] double get_float(std::string_view key) const;

  /// From a bool.
  [[nodiscard]] bool get_bool(std::string_view key) const;

  /// The elements of an array of any kind: to be looked at before they are read.
  [[nodiscard]] std::uint64_t get_count(std::string_view key) const;

  /// Views of the strings in the file, valid while it lives.
  [[nodiscard]] std::vector<std::string_view> get_strings(std::string_view key) const;

  /// From an array of any integer kind; values above 2^63 - 1 wrap.
  [[nodiscard]] std::vector<std::int64_t> get_integers(std::string_view key) const;

  /// From an array of f32 or f64.
  [[nodiscard]] std::vector<double> get_floats(std::string_view key) const;

  /// All tensors, in the order of the file.
  [[nodiscard]] std::span<const stored_tensor> tensors() const { return tensors_; }

  /// The tensor of this name, or null.
  [[nodiscard]] const stored_tensor* find(std::string_view name) const;

  /// The tensor of this name. Throws, naming file and tensor, when there is none.
  [[nodiscard]] const stored_tensor& tensor(std::string_view name) const;

  /// The tensor of this name as a matrix [O, C] of its format. Throws, naming file, tensor and
  /// type, when it is missing or zoq does not know its format.
  [[nodiscard]] any_packed matrix(std::string_view name) const;

 private:
  template <class Key>
  using numbers_by_name = std::map<Key, std::size_t, std::less<>>;
  const gguf_value& value(std::string_view key) const;
  const gguf_value& value(std::string_view key, const char* wanted, gguf_kind kind) const;
  const gguf_value& integer(std::string_view key) const;
  const gguf_value& array(std::string_view key, const char* wanted, bool (*fits)(gguf_kind)) const;
  std::string unfit(const gguf_value& v) const;
  byte_reader reader_of(const gguf_value& v) const;

  std::string path_;
  std::vector<gguf_value> values_;
  std::vector<stored_tensor> tensors_;
  numbers_by_name<std::string_view> value_numbers_;  // keys lie in the file
  numbers_by_name<std::string> tensor_numbers_;
  model_bytes bytes_;
};

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

namespace detail {

template <class T>
std::vector<T> numbers_of(const gguf_value& v) {
  std::vector<T> out(static_cast<std::size_t>(v.count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = read_number<T>(v.element, v.bytes.data() + i * least_bytes(v.element));
  }
  return out;
}

}  // namespace detail

ZOQ_BODY const std::byte* aligned_bytes(std::span<const std::byte> there, index_t multiple,
                                        model_bytes& bytes) {
  const auto place = reinterpret_cast<std::uintptr_t>(there.data());
  if (place % static_cast<std::uintptr_t>(multiple) == 0) {
    return there.data();
  }
  const auto copy = std::make_shared<const std::vector<std::byte>>(there.begin(), there.end());
  bytes.copies.push_back(copy);
  return copy->data();
}

ZOQ_BODY model_file::model_file(std::string path, std::vector<gguf_value> values,
                                std::vector<stored_tensor> tensors, model_bytes bytes)
    : path_(std::move(path)),
      values_(std::move(values)),
      tensors_(std::move(tensors)),
      bytes_(std::move(bytes)) {
  for (std::size_t i = 0; i < values_.size(); ++i) {
    require(value_numbers_.emplace(values_[i].key, i).second, path_, ": metadata ",
            printable(values_[i].key), " comes twice");
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    require(tensor_numbers_.emplace(tensors_[i].name, i).second, path_, ": tensor ",
            printable(tensors_[i].name), " comes twice");
  }
}

ZOQ_BODY void model_file::drop_pages() const {
  for (const auto& file : bytes_.files) {
    file->drop_pages();
  }
}

ZOQ_BODY std::string model_file::get_string(std::string_view key) const {
  return std::string(reader_of(value(key, "a string", gguf_kind::string)).take_string(key));
}

ZOQ_BODY std::uint64_t model_file::get_u64(std::string_view key) const {
  const gguf_value& v = integer(key);
  if (is_signed(v.kind)) {
    const std::int64_t n = get_i64(key);
    require(n >= 0, path_, ": metadata ", printable(key), " is ", n, ", wanted no negative value");
    return static_cast<std::uint64_t>(n);
  }
  return read_number<std::uint64_t>(v.kind, v.bytes.data());
}

ZOQ_BODY std::int64_t model_file::get_i64(std::string_view key) const {
  const gguf_value& v = integer(key);
  const auto n = read_number<std::int64_t>(v.kind, v.bytes.data());
  require(v.kind != gguf_kind::u64 || n >= 0, path_, ": metadata ", printable(key),
          " does not fit into 63 bits");
  return n;
}

ZOQ_BODY double model_file::get_float(std::string_view key) const {
  const gguf_value& v = value(key);
  require(is_float(v.kind), unfit(v), ", wanted a floating-point number");
  return read_number<double>(v.kind, v.bytes.data());
}

ZOQ_BODY bool model_file::get_bool(std::string_view key) const {
  const gguf_value& v = value(key, "a bool", gguf_kind::boolean);
  return v.bytes[0] != std::byte{0};
}

ZOQ_BODY std::uint64_t model_file::get_count(std::string_view key) const {
  return array(key, "anything", [](gguf_kind) { return true; }).count;
}

ZOQ_BODY std::vector<std::string_view> model_file::get_strings(std::string_view key) const {
  const gguf_value& v = array(key, "strings", [](gguf_kind k) { return k == gguf_kind::string; });
  std::vector<std::string_view> out;
  out.reserve(static_cast<std::size_t>(v.count));
  byte_reader in = reader_of(v);
  for (std::uint64_t i = 0; i < v.count; ++i) {
    out.push_back(in.take_string(key));
  }
  return out;
}

ZOQ_BODY std::vector<std::int64_t> model_file::get_integers(std::string_view key) const {
  return detail::numbers_of<std::int64_t>(array(key, "integers", is_integer));
}

ZOQ_BODY std::vector<double> model_file::get_floats(std::string_view key) const {
  return detail::numbers_of<double>(array(key, "floating-point numbers", is_float));
}

ZOQ_BODY const stored_tensor* model_file::find(std::string_view name) const {
  const auto at = tensor_numbers_.find(name);
  return at == tensor_numbers_.end() ? nullptr : &tensors_[at->second];
}

ZOQ_BODY const stored_tensor& model_file::tensor(std::string_view name) const {
  const stored_tensor* found = find(name);
  require(found != nullptr, path_, ": tensor ", printable(name), " is missing");
  return *found;
}

ZOQ_BODY any_packed model_file::matrix(std::string_view name) const {
  const stored_tensor& t = tensor(name);
  const std::string where = text(path_, ": tensor ", printable(t.name));
  require(!t.format.empty(), where, ": unknown format, GGUF type ", t.type);
  return packed_as(t.format, t.data, t.row_data, t.rows(), t.columns(), where);
}

ZOQ_BODY const gguf_value& model_file::value(std::string_view key) const {
  const auto at = value_numbers_.find(key);
  require(at != value_numbers_.end(), path_, ": metadata ", printable(key), " is missing");
  return values_[at->second];
}

ZOQ_BODY const gguf_value& model_file::value(std::string_view key, const char* wanted,
                                             gguf_kind kind) const {
  const gguf_value& v = value(key);
  require(v.kind == kind, unfit(v), ", wanted ", wanted);
  return v;
}

ZOQ_BODY const gguf_value& model_file::integer(std::string_view key) const {
  const gguf_value& v = value(key);
  require(is_integer(v.kind), unfit(v), ", wanted an integer");
  return v;
}

ZOQ_BODY const gguf_value& model_file::array(std::string_view key, const char* wanted,
                                             bool (*fits)(gguf_kind)) const {
  const gguf_value& v = value(key);
  require(v.kind == gguf_kind::array && fits(v.element), unfit(v), ", wanted an array of ", wanted);
  return v;
}

ZOQ_BODY std::string model_file::unfit(const gguf_value& v) const {
  return text(path_, ": metadata ", printable(v.key), " is ",
              v.kind == gguf_kind::array ? text("an array of ", name_of(v.element))
                                         : text("of kind ", name_of(v.kind)));
}

ZOQ_BODY byte_reader model_file::reader_of(const gguf_value& v) const { return {v.bytes, path_}; }

}  // namespace zoq

#endif
