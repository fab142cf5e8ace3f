// safetensors: named tensors and a few strings in one file. Masks, deltas and checkpoints.
//
//     std::vector<zoq::safetensor> all = {zoq::safetensor_of<float>("values", {3}, values)};
//     zoq::write_safetensors("delta.safetensors", all, {{"model", hash}});
//     auto file = zoq::safetensors_file::open("delta.safetensors");
//     std::vector<float> same = file.values<float>("values");
//
// Layout: u64 length of the header, little-endian; the header, a JSON object that maps each name to
// {"dtype", "shape", "data_offsets": [begin, end]} and "__metadata__" to strings, padded with
// spaces to a multiple of 8; the tensors' bytes, row-major, without holes, which the offsets count
// from. Source: the safetensors format description. A file may be hostile: its header has at most 2^20
// names, strings and numbers, and their memory is near 100 bytes each, beside twice the header's bytes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/io/mapped_file.hpp"

namespace zoq {

/// One tensor. Owns its name and shape, not its bytes.
struct safetensor {
  std::string name;                  // once in a file
  std::string dtype;                 // "F32"
  std::vector<index_t> shape;        // slowest first; empty: one value
  std::span<const std::byte> bytes;  // row-major, of any alignment
};

/// Bytes of a value of this dtype; 0 when it is not known.
constexpr index_t dtype_bytes(std::string_view dtype) {
  struct entry {
    std::string_view dtype;
    index_t bytes;
  };
  constexpr entry known[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
                             {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                             {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};
  for (const entry& e : known) {
    if (e.dtype == dtype) {
      return e.bytes;
    }
  }
  return 0;
}

/// The dtype that stores a T.
template <class T>
constexpr std::string_view dtype_of() {
  if constexpr (std::is_same_v<T, f16>) {
    return "F16";
  } else if constexpr (std::is_same_v<T, bf16>) {
    return "BF16";
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    return sizeof(T) == 4 ? "F32" : "F64";
  } else {
    static_assert(std::is_integral_v<T> && !std::is_same_v<T, bool>);
    constexpr std::string_view names[] = {"U8", "U16", "U32", "U64", "I8", "I16", "I32", "I64"};
    return names[std::countr_zero(sizeof(T)) + (std::is_signed_v<T> ? 4 : 0)];
  }
}

/// `values` as a tensor; they must stay where they are while it is used.
template <class T>
safetensor safetensor_of(std::string name, std::vector<index_t> shape, std::span<const T> values) {
  return {std::move(name), std::string(dtype_of<T>()), std::move(shape), std::as_bytes(values)};
}

/// A file of tensors, mapped: their bytes are valid while it lives.
class safetensors_file {
 public:
  using strings = std::map<std::string, std::string>;  // by key

  /// Maps and checks the file; tensor data is not read. Throws `error`, naming the file and the
  /// place, on a broken header, an unknown dtype, bytes that do not fit a shape, lie outside the
  /// file, or belong to two tensors or to none.
  static safetensors_file open(const std::string& path);

  /// As it was opened.
  [[nodiscard]] const std::string& path() const { return file_.path(); }
  /// Where the bytes lie.
  [[nodiscard]] const mapped_file& file() const { return file_; }
  /// The strings of "__metadata__"; empty when there is none.
  [[nodiscard]] const strings& metadata() const { return metadata_; }
  /// The metadata string of this key. Throws, naming file and key, when there is none.
  [[nodiscard]] const std::string& metadata(const std::string& key) const;

  /// All tensors, in the order in which their bytes lie in the file. The bytes are valid while the
  /// file object lives, wherever it is moved.
  [[nodiscard]] std::span<const safetensor> tensors() const { return tensors_; }
  /// The tensor of this name, or null. Cost: logarithmic.
  [[nodiscard]] const safetensor* find(std::string_view name) const;
  /// The tensor of this name. Throws, naming file and tensor, when there is none.
  [[nodiscard]] const safetensor& tensor(std::string_view name) const;
  /// A copy of a tensor's values. Throws, naming file and tensor, when it is missing or of another
  /// dtype than T's.
  template <class T>
  [[nodiscard]] std::vector<T> values(std::string_view name) const {
    const safetensor& t = tensor_of(name, dtype_of<T>());
    std::vector<T> out(t.bytes.size() / sizeof(T));
    if (!out.empty()) {
      std::memcpy(out.data(), t.bytes.data(), t.bytes.size());
    }
    return out;
  }

 private:
  explicit safetensors_file(mapped_file file);

  // Throws, naming file and tensor, when it is missing or of another dtype.
  [[nodiscard]] const safetensor& tensor_of(std::string_view name, std::string_view dtype) const;

  mapped_file file_;
  strings metadata_;
  std::vector<safetensor> tensors_;
  std::vector<std::size_t> by_name_;  // the numbers of the tensors, in the order of their names
};

/// A tensor whose bytes are made while a file is written.
struct safetensor_source {
  /// Takes the next bytes.
  using sink = std::function<void(std::span<const std::byte>)>;

  std::string name;            // once in a file
  std::string dtype;           // "F32"
  std::vector<index_t> shape;  // slowest first
  /// Calls the sink with the next bytes, as often as it likes.
  std::function<void(const sink&)> make;
};

/// Writes the tensors in the order given, one after another, whole or not at all: the same input gives
/// the same bytes. Throws `error`, naming file and tensor, on an unknown dtype, bytes that do not fit
/// the shape, or a name that comes twice or is no UTF-8, what atomic_file throws, and what `make`
/// throws.
void stream_safetensors(const std::string& path, std::span<const safetensor_source> tensors,
                        const safetensors_file::strings& metadata = {});

/// The same of tensors that lie in memory.
void write_safetensors(const std::string& path, std::span<const safetensor> tensors,
                       const safetensors_file::strings& metadata = {});

namespace detail {

/// The first bytes of a file of these tensors, padded, and where each begins in it; at last where it
/// ends. Throws as stream_safetensors does.
struct safetensors_head {
  std::string bytes;
  std::vector<index_t> begin;  // [tensors + 1]
};
safetensors_head head_of(const std::string& path, std::span<const safetensor_source> tensors,
                         const safetensors_file::strings& metadata);

}  // namespace detail
}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <tuple>

#include "zoq/core/error.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/json.hpp"
#include "zoq/io/utf8.hpp"

namespace zoq {

namespace detail {

inline constexpr std::uint64_t longest_header = 100'000'000;  // the format's own bound
inline constexpr std::size_t longest_name = 1024;

/// Bytes that dtype and shape call for. Throws `error`, starting with `where`.
ZOQ_BODY index_t checked_bytes(const std::string& dtype, const std::vector<index_t>& shape,
                               const std::string& where) {
  index_t bytes = dtype_bytes(dtype);
  require(bytes != 0, where, " has unknown dtype ", printable(dtype));
  for (const index_t extent : shape) {
    require(multiply_checked(bytes, extent, bytes), where, " has more than 2^62 bytes");
  }
  return bytes;
}

ZOQ_BODY std::vector<index_t> whole_numbers(const nlohmann::json& entry, const char* key,
                                            const std::string& where) {
  const nlohmann::json& list = json_member(entry, key, where);
  require(list.is_array(), where, ": \"", key, "\" is no array");
  std::vector<index_t> out;
  for (const nlohmann::json& value : list) {
    require(value.is_number_unsigned() && value.get<std::uint64_t>() <= std::uint64_t{1} << 62,
            where, ": \"", key, "\" has an entry that is no whole number up to 2^62");
    out.push_back(value.get<index_t>());
  }
  return out;
}

// The strings of "__metadata__".
ZOQ_BODY safetensors_file::strings read_strings(const nlohmann::json& entry,
                                                const std::string& path) {
  require(entry.is_object(), path, ": __metadata__ is no JSON object");
  safetensors_file::strings out;
  for (const auto& [key, value] : entry.items()) {
    require(value.is_string(), path, ": metadata ", printable(key), " is no string");
    out.emplace(key, value.get<std::string>());
  }
  return out;
}

ZOQ_BODY safetensor read_tensor(const std::string& name, const nlohmann::json& entry,
                                std::span<const std::byte> data, const std::string& path) {
  const std::string where = path + ": tensor " + printable(name);
  require(entry.is_object(), where, " is no JSON object");
  require(name.size() <= longest_name && printable(name, longest_name) == name, where,
          " has a name with control characters or of more than ", longest_name, " bytes");
  safetensor t;
  t.name = name;
  t.dtype = json_string(entry, "dtype", where);
  t.shape = whole_numbers(entry, "shape", where);
  const index_t wanted = checked_bytes(t.dtype, t.shape, where);
  const std::vector<index_t> offsets = whole_numbers(entry, "data_offsets", where);
  require(offsets.size() == 2 && offsets[0] <= offsets[1], where,
          ": \"data_offsets\" is no pair of a beginning and an end");
  require(offsets[1] - offsets[0] == wanted, where, " has ", offsets[1] - offsets[0],
          " bytes, its shape needs ", wanted);
  require(offsets[1] <= static_cast<index_t>(data.size()), where, " ends at byte ", offsets[1],
          " of the data, the file has ", data.size());
  t.bytes = data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(wanted));
  return t;
}

ZOQ_BODY safetensors_head head_of(const std::string& path,
                                  std::span<const safetensor_source> tensors,
                                  const safetensors_file::strings& metadata) {
  const auto quoted = [&](const std::string& s) {
    require(first_invalid_utf8(s) < 0, path, ": \"", printable(s), "\" is no UTF-8");
    return nlohmann::json(s).dump();
  };
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      header += text(header.back() == '{' ? "" : ",", quoted(key), ":", quoted(value));
    }
    header += "}";
  }
  std::set<std::string_view> names = {"__metadata__"};
  std::vector<index_t> begin = {0};
  for (const safetensor_source& t : tensors) {
    const std::string where = path + ": tensor " + printable(t.name);
    require(names.insert(t.name).second, where, " comes twice");
    const index_t end = begin.back() + checked_bytes(t.dtype, t.shape, where);
    header += text(header.back() == '{' ? "" : ",", quoted(t.name), ":{\"dtype\":\"", t.dtype,
                   "\",\"shape\":", nlohmann::json(t.shape).dump(), ",\"data_offsets\":[",
                   begin.back(), ",", end, "]}");
    begin.push_back(end);
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  const auto length = static_cast<std::uint64_t>(header.size());
  header.insert(0, reinterpret_cast<const char*>(&length), sizeof length);
  for (index_t& b : begin) {
    b += static_cast<index_t>(header.size());
  }
  return {std::move(header), std::move(begin)};
}

}  // namespace detail

ZOQ_BODY safetensors_file::safetensors_file(mapped_file file) : file_(std::move(file)) {
  byte_reader in(file_.bytes(), path());
  const auto length = in.take<std::uint64_t>("the header's length");
  require(length <= detail::longest_header, path(), ": not a safetensors file: a header of ",
          length, " bytes");
  const std::byte* start = in.skip(length, "the header");
  const std::string source = path() + ": header";
  const nlohmann::json header =
      parse_json({reinterpret_cast<const char*>(start), static_cast<std::size_t>(length)}, source,
                 {.deepest = 4});
  require(header.is_object(), source, " is no JSON object");
  const std::span<const std::byte> data = file_.bytes().subspan(in.position());
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      metadata_ = detail::read_strings(entry, path());
    } else {
      tensors_.push_back(detail::read_tensor(name, entry, data, path()));
    }
  }
  // By place; of tensors in one place all but one are empty, and the names decide.
  std::sort(tensors_.begin(), tensors_.end(), [](const safetensor& a, const safetensor& b) {
    return std::tuple(a.bytes.data(), a.bytes.size(), std::string_view(a.name)) <
           std::tuple(b.bytes.data(), b.bytes.size(), std::string_view(b.name));
  });
  const std::byte* end = data.data();
  for (const safetensor& t : tensors_) {
    require(t.bytes.data() >= end, path(), ": tensor ", printable(t.name),
            " overlaps the one before it");
    require(t.bytes.data() == end, path(), ": the ", t.bytes.data() - end, " bytes before tensor ",
            printable(t.name), " belong to no tensor");
    end += t.bytes.size();
  }
  require(end == data.data() + data.size(), path(), ": the last ", data.data() + data.size() - end,
          " bytes belong to no tensor");
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [&](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
}

ZOQ_BODY safetensors_file safetensors_file::open(const std::string& path) {
  return safetensors_file(mapped_file(path));
}

ZOQ_BODY const std::string& safetensors_file::metadata(const std::string& key) const {
  const auto at = metadata_.find(key);
  require(at != metadata_.end(), path(), ": metadata ", printable(key), " is missing");
  return at->second;
}

ZOQ_BODY const safetensor* safetensors_file::find(std::string_view name) const {
  const auto at = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](std::size_t n, std::string_view wanted) { return tensors_[n].name < wanted; });
  return at == by_name_.end() || tensors_[*at].name != name ? nullptr : &tensors_[*at];
}

ZOQ_BODY const safetensor& safetensors_file::tensor(std::string_view name) const {
  const safetensor* found = find(name);
  require(found != nullptr, path(), ": tensor ", printable(name), " is missing");
  return *found;
}

ZOQ_BODY const safetensor& safetensors_file::tensor_of(std::string_view name,
                                                       std::string_view dtype) const {
  const safetensor& t = tensor(name);
  require(t.dtype == dtype, path(), ": tensor ", printable(name), " is of dtype ", t.dtype,
          ", wanted ", dtype);
  return t;
}

ZOQ_BODY void stream_safetensors(const std::string& path,
                                 std::span<const safetensor_source> tensors,
                                 const safetensors_file::strings& metadata) {
  const detail::safetensors_head head = detail::head_of(path, tensors, metadata);
  atomic_file file(path);
  file.write(head.bytes);
  for (std::size_t n = 0; n < tensors.size(); ++n) {
    const index_t wanted = head.begin[n + 1] - head.begin[n];
    index_t written = 0;
    tensors[n].make([&](std::span<const std::byte> bytes) {
      written += static_cast<index_t>(bytes.size());
      file.write(bytes);
    });
    require(written == wanted, path, ": tensor ", printable(tensors[n].name), " has ", written,
            " bytes, its shape needs ", wanted);
  }
  file.commit();
}

ZOQ_BODY void write_safetensors(const std::string& path, std::span<const safetensor> tensors,
                                const safetensors_file::strings& metadata) {
  std::vector<safetensor_source> sources;
  for (const safetensor& t : tensors) {
    sources.push_back({t.name, t.dtype, t.shape, [&t](const auto& put) { put(t.bytes); }});
  }
  stream_safetensors(path, sources, metadata);
}

}  // namespace zoq

#endif
