// Errors: one exception type whose message names the place, what was found and what was wanted.
//
//     zoq::require(x.shape[1] == w.columns, "linear: x has ", x.shape[1], " columns, ", name,
//                  " needs ", w.columns);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <initializer_list>
#include <iosfwd>
#include <stdexcept>
#include <string>
#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq {

/// Thrown for every wrong use and every bad input. The library never prints and never exits.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One argument of a message, written as `operator<<` of a stream writes it: mostly text, a character or a
/// number (of one byte, too: int8_t and uint8_t are numbers here). Refers to it.
class message_part {
 public:
  /// Text.
  message_part(std::string_view text) : kind_(kind::text), text_(text) {}
  /// Text.
  message_part(const std::string& text) : message_part(std::string_view(text)) {}
  /// Text.
  message_part(const char* text) : message_part(std::string_view(text)) {}
  /// A character.
  message_part(char c) : kind_(kind::character), character_(c) {}
  /// A whole number.
  message_part(std::signed_integral auto number) : kind_(kind::whole), whole_(number) {}
  /// The same without a sign; also a bool, as 0 or 1.
  message_part(std::unsigned_integral auto number) : kind_(kind::natural), natural_(number) {}
  /// A number, to six digits.
  message_part(std::floating_point auto number)
      : kind_(kind::real), real_(static_cast<double>(number)) {}
  /// Whatever else can be written to a stream; whoever does so includes <ostream>.
  template <class T>
  requires(!std::integral<T> && !std::floating_point<T>) message_part(const T& value)
      : kind_(kind::other), other_{&value, [](const void* of, std::ostream& out) {
                                     out << *static_cast<const T*>(of);
                                   }} {}

  /// Writes it behind `out`.
  void append_to(std::string& out) const;

 private:
  enum class kind : unsigned char { text, character, whole, natural, real, other };
  struct streamed {
    const void* of;
    void (*write)(const void* of, std::ostream& out);
  };
  kind kind_;
  union {
    std::string_view text_;
    char character_;
    long long whole_;
    unsigned long long natural_;
    double real_;
    streamed other_;
  };
};

namespace detail {

/// The parts one after another.
[[nodiscard]] std::string joined(std::initializer_list<message_part> parts);

/// Throws `error` with the parts as its message: one line, see `fail`.
[[noreturn]] void throw_error(std::initializer_list<message_part> parts);

}  // namespace detail

/// The arguments written one after another, as `operator<<` writes them.
template <class... Args>
[[nodiscard]] std::string text(const Args&... args) {
  return detail::joined({message_part(args)...});
}

/// Throws `error` with the arguments as its message. It is one line: control characters, which may come
/// from a file's own texts, become '?'.
template <class... Args>
[[noreturn]] void fail(const Args&... args) {
  detail::throw_error({message_part(args)...});
}

/// Throws `error` with the arguments as its message unless `condition` holds. The message is only
/// built on failure.
template <class... Args>
void require(bool condition, const Args&... args) {
  if (!condition) [[unlikely]] {
    detail::throw_error({message_part(args)...});
  }
}

}  // namespace zoq

#if ZOQ_BODIES

#include <charconv>
#include <sstream>

namespace zoq {

ZOQ_BODY void message_part::append_to(std::string& out) const {
  switch (kind_) {
    case kind::text:
      out += text_;
      return;
    case kind::character:
      out += character_;
      return;
    case kind::whole:
      out += std::to_string(whole_);
      return;
    case kind::natural:
      out += std::to_string(natural_);
      return;
    case kind::real:
      char digits[32];
      out.append(
          digits,
          std::to_chars(digits, digits + sizeof digits, real_, std::chars_format::general, 6).ptr);
      return;
    case kind::other:
      std::ostringstream stream;
      other_.write(other_.of, stream);
      out += stream.str();
      return;
  }
}

namespace detail {

ZOQ_BODY std::string joined(std::initializer_list<message_part> parts) {
  std::string out;
  for (const message_part& part : parts) {
    part.append_to(out);
  }
  return out;
}

ZOQ_BODY void throw_error(std::initializer_list<message_part> parts) {
  std::string message = joined(parts);
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      c = '?';
    }
  }
  throw error(message);
}

}  // namespace detail
}  // namespace zoq

#endif
