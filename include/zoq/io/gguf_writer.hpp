// Writes a GGUF version 3 file: metadata and tensors, whole or not at all. Layout: see io/gguf.hpp.
//
//     zoq::gguf_writer out;
//     out.set("general.architecture", "llama");
//     out.set("llama.block_count", std::uint32_t{30});
//     out.add_tensor("output_norm.weight", {{576}}, zoq::f32_format::gguf_type, bytes);
//     out.write("model.gguf");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/gguf_kind.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

class gguf_writer {
 public:
  // Metadata stands in the file in the order of the calls. A key that comes twice throws.

  /// A number or a bool, stored as the kind of T's size.
  template <class T>
  requires std::is_arithmetic_v<T>
  void set(std::string_view key, T value) {
    start_value(key, kind_of<T>());
    append(values_, value);
  }
  void set(std::string_view key, std::string_view value) {
    start_value(key, gguf_kind::string);
    append(values_, value);
  }

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
  void set(std::string_view key, const std::vector<std::string>& array) {
    start_array(key, gguf_kind::string, array.size());
    for (const std::string& value : array) {
      append(values_, std::string_view(value));
    }
  }

  /// A tensor: 1 to 4 extents, fastest first, and its bytes, which must stay valid until write().
  /// Throws, naming the tensor, on a wrong shape, a name that comes twice, or, when zoq knows the
  /// type, another number of bytes than the shape needs.
  void add_tensor(std::string name, std::vector<index_t> shape, std::uint32_t type,
                  std::span<const std::byte> bytes) {
    require(!shape.empty() && shape.size() <= 4, "gguf: tensor ", name, " has ", shape.size(),
            " dimensions, wanted 1 to 4");
    index_t rows = 1;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      require(shape[d] > 0 && (d == 0 || multiply_checked(rows, shape[d], rows)), "gguf: tensor ",
              name, " has extent ", shape[d]);
    }
    if (const auto format = find_format(type)) {
      require(shape[0] % format->block_size == 0, "gguf: tensor ", name, " has ", shape[0],
              " columns, no multiple of ", format->name, "'s block of ", format->block_size);
      require(static_cast<index_t>(bytes.size()) == format->bytes(rows, shape[0]), "gguf: tensor ",
              name, " has ", bytes.size(), " bytes, its shape needs ",
              format->bytes(rows, shape[0]));
    }
    require(tensor_names_.insert(name).second, "gguf: tensor ", name, " comes twice");
    tensors_.push_back({std::move(name), std::move(shape), type, bytes});
  }

  /// Writes the file. Throws `error`, naming file and cause; then `path` is as it was.
  void write(const std::string& path) const {
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
      offset += t.bytes.size() + padding(t.bytes.size());
    }
    head.append(padding(head.size()), '\0');
    atomic_file file(path);
    file.write(head);
    for (const tensor& t : tensors_) {
      file.write(t.bytes);
      file.write(std::string(padding(t.bytes.size()), '\0'));
    }
    file.commit();
  }

 private:
  static constexpr std::size_t data_alignment = 32;  // the format's default

  struct tensor {
    std::string name;
    std::vector<index_t> shape;
    std::uint32_t type;
    std::span<const std::byte> bytes;
  };

  static std::size_t padding(std::size_t bytes) {
    return (data_alignment - bytes % data_alignment) % data_alignment;
  }

  template <class T>
  requires std::is_arithmetic_v<T>
  static void append(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static void append(std::string& out, std::string_view value) {
    append(out, static_cast<std::uint64_t>(value.size()));
    out += value;
  }

  void start_value(std::string_view key, gguf_kind kind) {
    require(key != "general.alignment", "gguf: the alignment is always ", data_alignment);
    require(keys_.emplace(key).second, "gguf: metadata ", key, " comes twice");
    append(values_, key);
    append(values_, static_cast<std::uint32_t>(kind));
  }
  void start_array(std::string_view key, gguf_kind element, std::size_t count) {
    start_value(key, gguf_kind::array);
    append(values_, static_cast<std::uint32_t>(element));
    append(values_, static_cast<std::uint64_t>(count));
  }

  std::set<std::string> keys_;
  std::set<std::string> tensor_names_;
  std::string values_;  // the metadata as it stands in the file
  std::vector<tensor> tensors_;
};

}  // namespace zoq
