// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/atomic_file.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include <sys/resource.h>

#include "temporary_folder.hpp"

using zoq::atomic_file;
using zoq::test::contents;
using zoq::test::message_of;
using zoq::test::temporary_folder;

TEST_CASE("atomic_file: nothing is seen before commit, everything after") {
  const temporary_folder folder;
  zoq::write_file_atomically(folder / "x", "old");
  atomic_file file(folder / "x");
  file.write("new ");
  file.write("contents");
  CHECK(contents(folder / "x") == "old");
  file.commit();
  CHECK(contents(folder / "x") == "new contents");
  CHECK(folder.entries() == 1);
  CHECK(message_of([&] { file.commit(); }) == folder / "x" + ": committed twice");
  CHECK(message_of([&] { file.write("more"); }) == folder / "x" + ": written after the end");
}

TEST_CASE("atomic_file: without commit the target is as it was and nothing is left behind") {
  const temporary_folder folder;
  zoq::test::put(folder / "x", "old");
  {
    atomic_file file(folder / "x");
    file.write("half");
    CHECK(folder.entries() == 2);
  }
  CHECK(contents(folder / "x") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("atomic_file: empty and large files are whole") {
  const temporary_folder folder;
  zoq::write_file_atomically(folder / "empty", "");
  CHECK(contents(folder / "empty").empty());
  std::string large(5'000'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) {
    large[i] = static_cast<char>(i * i >> 3);
  }
  zoq::write_file_atomically(folder / "large", large);
  CHECK((contents(folder / "large") == large));
}

TEST_CASE("atomic_file: what a killed writer leaves is told from other files") {
  const temporary_folder folder;
  const atomic_file file(folder / "x.bin");
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    CHECK(zoq::is_part_of(entry.path().filename().string(), "x.bin"));
    CHECK_FALSE(zoq::is_part_of(entry.path().filename().string(), "x"));
  }
  CHECK(zoq::is_part_of("x.7.part", "x"));
  for (const char* other :
       {"x", "x.part", "x..part", "x.7.part2", "x.7a.part", "y.7.part", "xx.7.part", "x.7"}) {
    CAPTURE(other);
    CHECK_FALSE(zoq::is_part_of(other, "x"));
  }
}

TEST_CASE("atomic_file: the mode honours the umask") {
  const temporary_folder folder;
  const mode_t before = ::umask(027);
  zoq::write_file_atomically(folder / "x", "x");
  ::umask(before);
  struct stat facts = {};
  REQUIRE(::stat((folder / "x").c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777u) == 0640u);
}

TEST_CASE("atomic_file: a relative path without a folder") {
  const temporary_folder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  zoq::write_file_atomically("here", "x");
  std::filesystem::current_path(before);
  CHECK(contents(folder / "here") == "x");
}

TEST_CASE("atomic_file: errors name the file and the cause") {
  const temporary_folder folder;
  CHECK(message_of([&] { atomic_file(folder / "none/x"); }) ==
        folder / "none/x" + ": cannot create: No such file or directory");
  CHECK(message_of([&] { atomic_file(folder.path()); }) ==
        folder.path() + ": is a directory, wanted a file");
  if (::geteuid() != 0) {  // root may write anywhere
    std::filesystem::permissions(
        folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    CHECK(message_of([&] { atomic_file(folder / "x"); }) ==
          folder / "x" + ": cannot create: Permission denied");
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
  }
}

TEST_CASE("atomic_file: a write that fails half-way leaves the target as it was") {
  const temporary_folder folder;
  zoq::test::put(folder / "x", "old");
  rlimit before = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 1000;  // the first write is cut short there, the next fails
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message =
      message_of([&] { zoq::write_file_atomically(folder / "x", std::string(5000, 'a')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(message == folder / "x" + ": cannot write: File too large");
  CHECK(contents(folder / "x") == "old");
  CHECK(folder.entries() == 1);
}
