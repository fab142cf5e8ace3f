// The alphabet of byte-level vocabularies: each of the 256 bytes is written as one printable
// letter, so that tokens can be listed as text.
//
//     zoq::byte_letter(' ');                            // "\u0120"
//     zoq::bytes_of_letters("\u0120was", bytes);        // true, bytes == " was"
//
// Bytes 21-7E, A1-AC and AE-FF stand for the characters of the same number; the other 68, in order,
// for U+0100 to U+0143. Source: GPT-2's encoder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/utf8.hpp"

namespace zoq {

namespace detail {

inline constexpr auto letter_codes = [] {
  std::array<unsigned, 256> out{};
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    out[byte] = printable ? byte : next++;
  }
  return out;
}();

inline constexpr auto bytes_by_code = [] {
  std::array<int, 0x144> out{};
  out.fill(-1);
  for (unsigned byte = 0; byte < 256; ++byte) {
    out[letter_codes[byte]] = static_cast<int>(byte);
  }
  return out;
}();

}  // namespace detail

/// The letter of `byte`, in UTF-8: one byte, or two.
inline std::string byte_letter(unsigned char byte) {
  const unsigned code = detail::letter_codes[byte];
  if (code < 0x80) {
    return {static_cast<char>(code)};
  }
  return {static_cast<char>(0xc0u | code >> 6), static_cast<char>(0x80u | (code & 0x3fu))};
}

/// Appends to `bytes` the bytes that the letters of `text` stand for. Returns false, with a part of
/// them appended, when a character of `text` is not in the alphabet.
inline bool bytes_of_letters(std::string_view text, std::string& bytes) {
  for (std::size_t at = 0; at < text.size();) {
    const utf8_char c = read_utf8(text, at);
    const int byte =
        c.bytes != 0 && c.code < detail::bytes_by_code.size() ? detail::bytes_by_code[c.code] : -1;
    if (byte < 0) {
      return false;
    }
    bytes += static_cast<char>(byte);
    at += static_cast<std::size_t>(c.bytes);
  }
  return true;
}

}  // namespace zoq
