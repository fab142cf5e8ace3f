// Runs the mini-trainer as a user would, and keeps what it said.
//
//     const auto done = zoq::test::run({"eval", "--model", model, "--data", rows, "--json"});
//     done.code;  done.out;  done.err;  done.json()["accuracy"];
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"

namespace zoq::test {

struct finished {
  int code = 0;  // exit code; 1000 + the signal that ended it
  std::string out, err;

  /// The last line of standard output.
  [[nodiscard]] nlohmann::json json() const {
    const std::size_t end = out.find_last_not_of('\n');
    const std::size_t begin = end == std::string::npos ? 0 : out.rfind('\n', end) + 1;
    return nlohmann::json::parse(out.substr(begin), nullptr, false);
  }
};

/// A program that is running, its output kept in files.
class running {
 public:
  /// `address_space` bounds its memory, in bytes; 0: no bound.
  explicit running(const std::vector<std::string>& arguments, std::size_t address_space = 0) {
    std::vector<char*> argv = {const_cast<char*>(ZOQ_CLI_PATH)};
    for (const std::string& a : arguments) {
      argv.push_back(const_cast<char*>(a.c_str()));
    }
    argv.push_back(nullptr);
    id_ = ::fork();
    if (id_ == 0) {
      if (address_space != 0) {
        const ::rlimit bound = {address_space, address_space};
        ::setrlimit(RLIMIT_AS, &bound);
      }
      redirect(STDOUT_FILENO, folder_ / "out");
      redirect(STDERR_FILENO, folder_ / "err");
      ::execv(ZOQ_CLI_PATH, argv.data());
      ::_exit(127);
    }
  }

  void send(int signal) const { ::kill(id_, signal); }

  finished wait() {
    int status = 0;
    ::waitpid(id_, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status),
            contents(folder_ / "out"), contents(folder_ / "err")};
  }

 private:
  static void redirect(int descriptor, const std::string& path) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(file, descriptor);
    ::close(file);
  }

  temporary_folder folder_;
  ::pid_t id_ = -1;
};

inline finished run(const std::vector<std::string>& arguments, std::size_t address_space = 0) {
  return running(arguments, address_space).wait();
}

}  // namespace zoq::test
