// Reads little-endian numbers and strings from bytes that may be cut short or hostile: every length
// is checked before use, and an error says what was being read and where.
//
//     byte_reader in(file.bytes(), file.path());
//     auto count = in.take<std::uint64_t>("the tensor count");
//     std::string_view name = in.take_string("the name of tensor ", i);   // no copy
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"

namespace zoq {

static_assert(std::endian::native == std::endian::little,
              "zoq reads and writes little-endian files");

/// `text` fit for one line of a message: control characters and bytes that are no UTF-8 become '?', so
/// that no file can steer a terminal, and what goes on beyond `most` bytes is cut.
std::string printable(std::string_view text, std::size_t most = 100);

/// Stores a * b unless it is above 2^62 or a factor is negative: then returns false.
inline bool multiply_checked(index_t a, index_t b, index_t& product) {
  return !__builtin_mul_overflow(a, b, &product) && a >= 0 && b >= 0 && product <= index_t{1} << 62;
}

class byte_reader {
 public:
  /// `source` starts every message. The bytes must outlive the reader and the strings it gave.
  byte_reader(std::span<const std::byte> bytes, std::string source)
      : bytes_(bytes), source_(std::move(source)) {}

  /// Bytes read or skipped so far: where the next one is.
  [[nodiscard]] std::size_t position() const { return position_; }
  /// Bytes still to come.
  [[nodiscard]] std::size_t left() const { return bytes_.size() - position_; }
  /// The next byte; the end when none is left.
  [[nodiscard]] const std::byte* here() const { return bytes_.data() + position_; }

  /// The next number. Throws "SOURCE: cut short: WHAT needs ..." when too few bytes are left; the
  /// message is built only then.
  template <class T, class... What>
  T take(const What&... what) {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, skip(sizeof(T), what...), sizeof(T));
    return value;
  }

  /// The next string: a length of 64 bits, then as many bytes.
  template <class... What>
  std::string_view take_string(const What&... what) {
    const auto length = take<std::uint64_t>(what...);
    const std::byte* at = skip(length, what...);
    return {reinterpret_cast<const char*>(at), static_cast<std::size_t>(length)};
  }

  /// Goes over `n` bytes and returns where they start.
  template <class... What>
  const std::byte* skip(std::uint64_t n, const What&... what) {
    require(n <= left(), source_, ": cut short: ", what..., " needs ", n, " bytes at byte ",
            position_, ", the file has ", bytes_.size());
    const std::byte* at = here();
    position_ += static_cast<std::size_t>(n);
    return at;
  }

  /// Throws unless `count` items of at least `least_bytes` each can still follow: to be called
  /// before anything is allocated for them.
  template <class... What>
  void expect(std::uint64_t count, std::uint64_t least_bytes, const What&... what) const {
    require(count <= left() / least_bytes, source_, ": cut short: ", what..., " is ", count,
            ", too many for the ", left(), " bytes that are left");
  }

 private:
  std::span<const std::byte> bytes_;
  std::string source_;
  std::size_t position_ = 0;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>

#include "zoq/io/utf8.hpp"

namespace zoq {

ZOQ_BODY std::string printable(std::string_view text, std::size_t most) {
  std::size_t n = std::min(text.size(), most);
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xc0u) == 0x80u) {
    --n;  // not inside a UTF-8 character
  }
  std::string out;
  for (std::size_t at = 0; at < n;) {
    const utf8_char c = read_utf8(text, at);
    const bool control = c.code < 0x20 || (c.code >= 0x7f && c.code < 0xa0);
    const auto bytes = static_cast<std::size_t>(c.bytes == 0 ? 1 : c.bytes);
    out += c.bytes == 0 || control ? std::string_view("?") : text.substr(at, bytes);
    at += bytes;
  }
  if (n < text.size()) {
    out += "...";
  }
  return out;
}

}  // namespace zoq

#endif
