// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/shrunk_file.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

#include "temporary_folder.hpp"
#include "zoq/io/mapped_file.hpp"

using namespace zoq::test;

namespace {

int descriptor = -1;  // where the report goes: a handler has no other way to say it

struct outcome {
  int code = 0;  // 1000 + the signal
  std::string said;
};

// Runs `work` in a process of its own; its reports are written to a file.
template <class Work>
outcome in_child(const temporary_folder& folder, const Work& work) {
  const std::string path = folder / "said";
  const ::pid_t id = ::fork();
  if (id == 0) {
    std::signal(SIGBUS, SIG_DFL);  // doctest's own
    descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    work();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(id, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), contents(path)};
}

void say_and_exit(const char* path) noexcept {
  const bool done = ::write(descriptor, path, std::strlen(path)) > 0;
  ::_exit(done ? 7 : 8);
}
void say(const char* path) noexcept {
  if (::write(descriptor, path, std::strlen(path)) < 0) {
    ::_exit(9);
  }
}

// Maps a file of three pages, cuts it to one, and reads the last page.
void read_what_is_gone(const std::string& path) {
  const zoq::mapped_file file(path);
  if (::truncate(path.c_str(), 4096) != 0 || file.bytes()[0] != std::byte{'x'}) {
    ::_exit(10);
  }
  volatile std::byte gone = file.bytes()[3 * 4096 - 1];
  (void)gone;
}

}  // namespace

TEST_CASE("shrunk_file: the file is named, and the report decides how the program ends") {
  const temporary_folder folder;
  const std::string path = folder / "a model with spaces";
  const std::string bytes(3 * 4096, 'x');
  put(path, bytes);
  outcome o = in_child(folder, [&] {
    zoq::when_a_file_shrinks(say_and_exit);
    read_what_is_gone(path);
  });
  CHECK(o.code == 7);
  CHECK(o.said == path);

  put(path, bytes);
  o = in_child(folder, [&] {
    zoq::when_a_file_shrinks(say_and_exit);
    zoq::when_a_file_shrinks(say);  // the last one counts; it returns, so the signal ends it
    read_what_is_gone(path);
  });
  CHECK(o.code == 1000 + SIGBUS);
  CHECK(o.said == path);
}

TEST_CASE("shrunk_file: other causes of the signal stay what they are") {
  const temporary_folder folder;
  const outcome o = in_child(folder, [&] {
    zoq::when_a_file_shrinks(say_and_exit);
    ::raise(SIGBUS);
  });
  CHECK(o.code == 1000 + SIGBUS);
  CHECK(o.said.empty());
}

TEST_CASE("shrunk_file: an address is found among the mappings, a path cut to its room") {
  const temporary_folder folder;
  put(folder / "x", "abc");
  const zoq::mapped_file file(folder / "x");
  const auto at = reinterpret_cast<std::uintptr_t>(file.bytes().data());
  char path[200];
  CHECK(zoq::detail::mapped_path_at(at + 2, path, sizeof path));
  CHECK(std::string(path) == folder / "x");
  CHECK(zoq::detail::mapped_path_at(at, path, 3));
  CHECK(std::string(path) == (folder / "x").substr(0, 2));
  CHECK_FALSE(zoq::detail::mapped_path_at(1, path, sizeof path));
}
