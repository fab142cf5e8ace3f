// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/byte_reader.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "temporary_folder.hpp"

using zoq::byte_reader;
using zoq::index_t;
using zoq::test::message_of;

TEST_CASE("byte_reader: numbers and strings in order") {
  const std::string bytes(
      "\x01\x02\x03\x00\x00\x00\x00\x00\x00\x00"
      "abc"
      "\xff",
      14);
  byte_reader in(std::as_bytes(std::span(bytes)), "file");
  CHECK(in.take<std::uint16_t>("a number") == 0x0201);
  CHECK(in.take_string("a string") == "abc");
  CHECK(in.position() == 13);
  CHECK(in.left() == 1);
  CHECK(in.take<std::int8_t>("a number") == -1);
  CHECK(message_of([&] { in.take<std::uint8_t>("number ", 7); }) ==
        "file: cut short: number 7 needs 1 bytes at byte 14, the file has 14");
}

TEST_CASE("byte_reader: lengths and counts that cannot be are refused, not added or allocated") {
  std::string bytes(8, '\xff');
  bytes += "abc";
  byte_reader in(std::as_bytes(std::span(bytes)), "file");
  CHECK(message_of([&] { in.take_string("the name"); }) ==
        "file: cut short: the name needs 18446744073709551615 bytes at byte 8, the file has 11");
  CHECK(message_of([&] { in.expect(4, 1, "the count"); }) ==
        "file: cut short: the count is 4, too many for the 3 bytes that are left");
  in.expect(3, 1, "the count");
}

TEST_CASE("multiply_checked: refuses what passes 2^62") {
  index_t product = 0;
  CHECK(zoq::multiply_checked(index_t{1} << 31, index_t{1} << 31, product));
  CHECK(product == index_t{1} << 62);
  CHECK_FALSE(zoq::multiply_checked(index_t{1} << 32, index_t{1} << 31, product));
  CHECK_FALSE(zoq::multiply_checked(index_t{1} << 32, index_t{1} << 32, product));
  CHECK_FALSE(zoq::multiply_checked(-1, -1, product));
  CHECK_FALSE(zoq::multiply_checked(std::numeric_limits<index_t>::min(), -1, product));
}

TEST_CASE("printable: one line of bounded length, cut between characters") {
  CHECK(zoq::printable("a\nb\x7f") == "a?b?");
  CHECK(zoq::printable("\x1b[2J\xff") == "?[2J?");
  CHECK(zoq::printable("\xc2\x9b"
                       "2J \xc3\xa9") == "?2J \xc3\xa9");  // U+009B begins a command too
  CHECK(zoq::printable("abcdef", 3) == "abc...");
  CHECK(zoq::printable(std::string(100, 'a')) == std::string(100, 'a'));
  CHECK(zoq::printable(std::string(101, 'a')) == std::string(100, 'a') + "...");
  std::string accents = "a";
  for (int i = 0; i < 60; ++i) {
    accents += "\xc3\xa9";
  }
  const std::string cut = zoq::printable(accents);
  CHECK(cut.substr(cut.size() - 5) == "\xc3\xa9...");
}
