// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/mapped_file.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <utility>

#include "temporary_folder.hpp"

using zoq::mapped_file;
using zoq::test::message_of;
using zoq::test::temporary_folder;

TEST_CASE("mapped_file: the bytes of the file, and they survive a move") {
  const temporary_folder folder;
  zoq::test::put(folder / "x", "hello");
  mapped_file file(folder / "x");
  file.will_need();
  const std::byte* data = file.bytes().data();
  mapped_file moved = std::move(file);
  CHECK(file.bytes().empty());  // NOLINT(bugprone-use-after-move): a moved-from file is empty
  REQUIRE(moved.bytes().size() == 5);
  CHECK(moved.bytes().data() == data);
  moved.drop_pages();
  CHECK(std::memcmp(moved.bytes().data(), "hello", 5) == 0);
  CHECK(moved.path() == folder / "x");
  mapped_file other;
  other = std::move(moved);
  CHECK(other.bytes().data() == data);
}

TEST_CASE("mapped_file: an empty file has no bytes") {
  const temporary_folder folder;
  zoq::test::put(folder / "x", "");
  const mapped_file file(folder / "x");
  file.will_need();
  CHECK(file.bytes().empty());
}

TEST_CASE("mapped_file: a mapping keeps the old contents when the file is replaced by renaming") {
  const temporary_folder folder;
  zoq::test::put(folder / "x", "old");
  const mapped_file file(folder / "x");
  zoq::test::put(folder / "y", "new!");
  std::filesystem::rename(folder / "y", folder / "x");
  CHECK(std::memcmp(file.bytes().data(), "old", 3) == 0);
}

TEST_CASE("exists_at and is_folder_at: what is there, and an error where that is not to be known") {
  const temporary_folder folder;
  zoq::test::put(folder / "x", "");
  CHECK(zoq::exists_at(folder / "x"));
  CHECK_FALSE(zoq::is_folder_at(folder / "x"));
  CHECK(zoq::is_folder_at(folder.path()));
  CHECK_FALSE(zoq::exists_at(folder / "y"));
  CHECK_FALSE(zoq::exists_at(folder / "x/y"));
  CHECK_FALSE(zoq::exists_at(""));
  const std::string loop = folder / "loop";
  std::filesystem::create_symlink(loop, loop);
  const std::string cause = loop + ": cannot be looked at: Too many levels of symbolic links";
  CHECK(message_of([&] { zoq::exists_at(loop); }) == cause);
  CHECK(message_of([&] { zoq::is_folder_at(loop); }) == cause);
  CHECK(message_of([&] { zoq::exists_at(std::string(300, 'x')); }).find("too long") !=
        std::string::npos);
}

TEST_CASE("mapped_file: errors name the file and the cause") {
  const temporary_folder folder;
  CHECK(message_of([&] { mapped_file(folder / "none"); }) ==
        folder / "none" + ": cannot open: No such file or directory");
  CHECK(message_of([&] { mapped_file(folder.path()); }) ==
        folder.path() + ": is a directory, wanted a file");
  CHECK(message_of([&] { mapped_file("/dev/null"); }) == "/dev/null: is not a regular file");
}
