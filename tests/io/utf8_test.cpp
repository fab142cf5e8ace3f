// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/utf8.hpp"

#include <doctest/doctest.h>

#include <string>

#include "zoq/io/byte_alphabet.hpp"

namespace {

// The encoding by definition, surrogates and numbers above U+10FFFF too.
std::string encode(char32_t c) {
  const auto part = [](char32_t bits) { return static_cast<char>(bits); };
  if (c < 0x80) {
    return {part(c)};
  }
  if (c < 0x800) {
    return {part(0xc0 | c >> 6), part(0x80 | (c & 0x3f))};
  }
  if (c < 0x10000) {
    return {part(0xe0 | c >> 12), part(0x80 | (c >> 6 & 0x3f)), part(0x80 | (c & 0x3f))};
  }
  return {part(0xf0 | c >> 18), part(0x80 | (c >> 12 & 0x3f)), part(0x80 | (c >> 6 & 0x3f)),
          part(0x80 | (c & 0x3f))};
}

}  // namespace

TEST_CASE("utf8: every code point reads back, and no surrogate or number above U+10FFFF does") {
  zoq::index_t wrong = 0;
  for (char32_t c = 0; c < 0x120000; ++c) {
    const std::string bytes = encode(c);
    const zoq::utf8_char read = zoq::read_utf8(bytes, 0);
    const bool valid = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    const bool right =
        valid ? read.code == c && read.bytes == static_cast<int>(bytes.size()) : read.bytes == 0;
    wrong += right ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("utf8: overlong forms, lone continuations and cut characters are not well formed") {
  for (const std::string bad :
       {"\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\x80", "\xbf", "\xc3",
        "\xe2\x82", "\xf0\x9f\x98", "\xe2(\xa1", "\xff", "\xf5\x80\x80\x80"}) {
    CAPTURE(bad);
    CHECK(zoq::read_utf8(bad, 0).bytes == 0);
    CHECK(zoq::first_invalid_utf8("ab\xc3\xa9" + bad) == 4);
  }
  CHECK(zoq::first_invalid_utf8("") == -1);
  CHECK(zoq::first_invalid_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") == -1);
}

TEST_CASE("byte alphabet: 256 different letters, each of which is its byte again") {
  CHECK(zoq::byte_letter('A') == "A");
  CHECK(zoq::byte_letter(' ') == "\xc4\xa0");   // U+0120
  CHECK(zoq::byte_letter('\n') == "\xc4\x8a");  // U+010A
  CHECK(zoq::byte_letter(0xad) == "\xc5\x83");  // U+0143, the last
  std::string letters;
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) {
    letters += zoq::byte_letter(static_cast<unsigned char>(byte));
    bytes += static_cast<char>(byte);
  }
  std::string back;
  CHECK(zoq::bytes_of_letters(letters, back));
  CHECK((back == bytes));
  CHECK(zoq::first_invalid_utf8(letters) == -1);
  CHECK_FALSE(zoq::bytes_of_letters(" ", back));             // the space has another letter
  CHECK_FALSE(zoq::bytes_of_letters("\xe2\x96\x81", back));  // U+2581
  CHECK_FALSE(zoq::bytes_of_letters("\xff", back));
}
