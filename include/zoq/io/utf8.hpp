// UTF-8: reads a character, and finds the first byte that is not well formed.
//
//     zoq::utf8_char c = zoq::read_utf8(text, at);       // c.bytes == 0: not well formed
//     zoq::index_t bad = zoq::first_invalid_utf8(text);  // -1: the text is well formed
//
// Source: the Unicode Standard, table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq {

/// A character of a text.
struct utf8_char {
  char32_t code = 0;  // its number in Unicode
  int bytes = 0;      // 1 to 4; 0 when the bytes are not well formed
};

/// The character that starts at byte `at` of `text`, which must be inside.
constexpr utf8_char read_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) {
    return {lead, 1};
  }
  const int bytes = lead >= 0xc2 && lead <= 0xdf   ? 2
                    : lead >= 0xe0 && lead <= 0xef ? 3
                    : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                   : 0;
  if (bytes == 0 || text.size() - at < static_cast<std::size_t>(bytes)) {
    return {};
  }
  char32_t code = lead & (0x7fu >> bytes);
  for (int i = 1; i < bytes; ++i) {
    const unsigned next = byte(static_cast<std::size_t>(i));
    if ((next & 0xc0u) != 0x80u) {
      return {};
    }
    code = code << 6 | (next & 0x3fu);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return overlong || surrogate || code > 0x10ffff ? utf8_char{} : utf8_char{code, bytes};
}

/// Where the first byte lies that starts no well-formed character; -1 when there is none.
constexpr index_t first_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const int bytes = read_utf8(text, at).bytes;
    if (bytes == 0) {
      return static_cast<index_t>(at);
    }
    at += static_cast<std::size_t>(bytes);
  }
  return -1;
}

}  // namespace zoq
