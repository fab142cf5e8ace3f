// Writes a GGUF version 3 file: metadata and tensors, whole or not at all. Layout: see io/gguf.hpp.
//
//     zoq::gguf_writer out;
//     out.set("general.architecture", "llama");
//     out.set("llama.block_count", std::uint32_t{30});
//     out.add_tensor("output_norm.weight", {{576}}, zoq::f32_format::gguf_type, bytes);
//     out.write("model.gguf");
//
// A tensor's bytes may also be made while the file is written, so that a file may be larger than
// memory:
//
//     out.add_tensor("output.weight", {{576, 49152}}, zoq::q8_0::gguf_type,
//                    [&](const zoq::gguf_writer::sink& put) { for (...) { put(some_rows); } });
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/gguf_kind.hpp"

namespace zoq {

class gguf_writer {
 public:
  /// Takes the next bytes of a tensor.
  using sink = std::function<void(std::span<const std::byte>)>;

  // Metadata stands in the file in the order of the calls. A key that comes twice throws.

  /// A number or a bool, stored as the kind of T's size.
  template <class T>
  requires std::is_arithmetic_v<T>
  void set(std::string_view key, T value) {
    start_value(key, kind_of<T>());
    append(values_, value);
  }
  /// A string.
  void set(std::string_view key, std::string_view value);

  /// An array of numbers.
  template <class T>
  requires(std::is_arithmetic_v<T> &&
           !std::is_same_v<T, bool>) void set(std::string_view key, const std::vector<T>& array) {
    start_array(key, kind_of<T>(), array.size());
    for (const T value : array) {
      append(values_, value);
    }
  }
  /// An array of strings.
  void set(std::string_view key, const std::vector<std::string>& array);

  /// A value as another file has it.
  void set(const gguf_value& value);

  /// A tensor: 1 to 4 extents, fastest first, and its bytes, which must stay valid until write().
  /// Throws, naming the tensor, on a wrong shape, a name that comes twice, or, when zoq knows the
  /// type, another number of bytes than the shape needs.
  void add_tensor(std::string name, std::vector<index_t> shape, std::uint32_t type,
                  std::span<const std::byte> bytes);

  /// The same with bytes that are made by write(): it calls make(put), which calls put(bytes) with
  /// the next bytes, as often as it likes. Small pieces are better joined first: each is a system
  /// call. The type must be one that zoq knows. What `make` refers to must stay valid until write().
  void add_tensor(std::string name, std::vector<index_t> shape, std::uint32_t type,
                  std::function<void(const sink&)> make);

  /// The bytes of a file that has the metadata and no tensors.
  [[nodiscard]] std::string metadata_bytes() const;

  /// Writes the file, tensor by tensor in the order of the calls. Throws `error`, naming file and
  /// cause, and what a tensor's `make` throws; then `path` is as it was.
  void write(const std::string& path) const;

 private:
  static constexpr std::size_t data_alignment = 32;  // the format's default

  struct tensor {
    std::string name;
    std::vector<index_t> shape;
    std::uint32_t type;
    std::size_t byte_count;
    std::function<void(const sink&)> make;
  };

  // The bytes that a tensor of this shape has, if zoq knows the type. Throws on a wrong shape.
  static std::optional<index_t> bytes_of(const std::string& name, const std::vector<index_t>& shape,
                                         std::uint32_t type);
  void keep(tensor t);

  [[nodiscard]] std::string header() const;
  static std::size_t padding(std::size_t bytes);

  template <class T>
  requires std::is_arithmetic_v<T>
  static void append(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static void append(std::string& out, std::string_view value);
  void start_value(std::string_view key, gguf_kind kind);
  void start_array(std::string_view key, gguf_kind element, std::size_t count);

  std::set<std::string> keys_;
  std::set<std::string> tensor_names_;
  std::string values_;  // the metadata as it stands in the file
  std::vector<tensor> tensors_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

ZOQ_BODY void gguf_writer::set(std::string_view key, std::string_view value) {
  start_value(key, gguf_kind::string);
  append(values_, value);
}

ZOQ_BODY void gguf_writer::set(std::string_view key, const std::vector<std::string>& array) {
  start_array(key, gguf_kind::string, array.size());
  for (const std::string& value : array) {
    append(values_, std::string_view(value));
  }
}

ZOQ_BODY void gguf_writer::set(const gguf_value& value) {
  if (value.kind == gguf_kind::array) {
    start_array(value.key, value.element, value.count);
  } else {
    start_value(value.key, value.kind);
  }
  values_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
}

ZOQ_BODY void gguf_writer::add_tensor(std::string name, std::vector<index_t> shape,
                                      std::uint32_t type, std::span<const std::byte> bytes) {
  const std::optional<index_t> needed = bytes_of(name, shape, type);
  require(!needed || static_cast<index_t>(bytes.size()) == *needed, "gguf: tensor ", name, " has ",
          bytes.size(), " bytes, its shape needs ", *needed);
  keep({std::move(name), std::move(shape), type, bytes.size(),
        [bytes](const sink& put) { put(bytes); }});
}

ZOQ_BODY void gguf_writer::add_tensor(std::string name, std::vector<index_t> shape,
                                      std::uint32_t type, std::function<void(const sink&)> make) {
  const std::optional<index_t> needed = bytes_of(name, shape, type);
  require(needed.has_value(), "gguf: tensor ", name, " has unknown type ", type);
  keep({std::move(name), std::move(shape), type, static_cast<std::size_t>(*needed),
        std::move(make)});
}

ZOQ_BODY std::string gguf_writer::metadata_bytes() const {
  gguf_writer alone;
  alone.keys_ = keys_;
  alone.values_ = values_;
  return alone.header();
}

ZOQ_BODY void gguf_writer::write(const std::string& path) const {
  const std::string head = header();
  atomic_file file(path);
  file.write(head);
  for (const tensor& t : tensors_) {
    std::size_t written = 0;
    t.make([&](std::span<const std::byte> bytes) {
      written += bytes.size();
      require(written <= t.byte_count, path, ": tensor ", t.name, " gets ", written,
              " bytes and more, its shape needs ", t.byte_count);
      file.write(bytes);
    });
    require(written == t.byte_count, path, ": tensor ", t.name, " got ", written,
            " bytes, its shape needs ", t.byte_count);
    file.write(std::string(padding(t.byte_count), '\0'));
  }
  file.commit();
}

ZOQ_BODY std::optional<index_t> gguf_writer::bytes_of(const std::string& name,
                                                      const std::vector<index_t>& shape,
                                                      std::uint32_t type) {
  require(!shape.empty() && shape.size() <= 4, "gguf: tensor ", name, " has ", shape.size(),
          " dimensions, wanted 1 to 4");
  index_t rows = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    require(shape[d] > 0 && (d == 0 || multiply_checked(rows, shape[d], rows)), "gguf: tensor ",
            name, " has extent ", shape[d]);
  }
  std::optional<index_t> bytes;
  if (const auto format = find_format(type)) {
    require(shape[0] % format->block_size == 0, "gguf: tensor ", name, " has ", shape[0],
            " columns, no multiple of ", format->name, "'s block of ", format->block_size);
    bytes = format->bytes(rows, shape[0]);
  }
  return bytes;
}

ZOQ_BODY void gguf_writer::keep(tensor t) {
  require(tensor_names_.insert(t.name).second, "gguf: tensor ", t.name, " comes twice");
  tensors_.push_back(std::move(t));
}

ZOQ_BODY std::string gguf_writer::header() const {
  std::string head = "GGUF";
  append(head, std::uint32_t{3});
  append(head, static_cast<std::uint64_t>(tensors_.size()));
  append(head, static_cast<std::uint64_t>(keys_.size()));
  head += values_;
  std::uint64_t offset = 0;
  for (const tensor& t : tensors_) {
    append(head, std::string_view(t.name));
    append(head, static_cast<std::uint32_t>(t.shape.size()));
    for (const index_t extent : t.shape) {
      append(head, static_cast<std::uint64_t>(extent));
    }
    append(head, t.type);
    append(head, offset);
    offset += t.byte_count + padding(t.byte_count);
  }
  head.append(padding(head.size()), '\0');
  return head;
}

ZOQ_BODY std::size_t gguf_writer::padding(std::size_t bytes) {
  return (data_alignment - bytes % data_alignment) % data_alignment;
}

ZOQ_BODY void gguf_writer::append(std::string& out, std::string_view value) {
  append(out, static_cast<std::uint64_t>(value.size()));
  out += value;
}

ZOQ_BODY void gguf_writer::start_value(std::string_view key, gguf_kind kind) {
  require(key != "general.alignment", "gguf: the alignment is always ", data_alignment);
  require(keys_.emplace(key).second, "gguf: metadata ", key, " comes twice");
  append(values_, key);
  append(values_, static_cast<std::uint32_t>(kind));
}

ZOQ_BODY void gguf_writer::start_array(std::string_view key, gguf_kind element, std::size_t count) {
  start_value(key, gguf_kind::array);
  append(values_, static_cast<std::uint32_t>(element));
  append(values_, static_cast<std::uint64_t>(count));
}

}  // namespace zoq

#endif
