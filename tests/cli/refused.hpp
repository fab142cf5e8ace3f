// A command that must be refused, as the user sees it.
//
//     zoq::test::check_refused(with(command, {"--steps", "0"}), 2, "--steps: ");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "cli/program.hpp"

namespace zoq::test {

/// It ended with this code, and with one line that holds this; before it is at most what a bar of progress left.
inline void check_refused(const std::vector<std::string>& command, int code,
                          const std::string& said) {
  const finished done = run(command, std::size_t{1} << 30);
  CAPTURE(said);
  CAPTURE(done.err);
  CHECK(done.code == code);
  REQUIRE(done.err.size() > 1);
  const std::size_t before = done.err.rfind('\n', done.err.size() - 2);
  const std::string line = done.err.substr(before == done.err.npos ? 0 : before + 1);
  CHECK(line.starts_with("zoq " + command[0] + ": "));
  CHECK(line.find(said) != std::string::npos);
  CHECK(std::none_of(line.begin(), line.end() - 1,
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
  CHECK(line.size() < 2100);
}

/// A command with more options.
inline std::vector<std::string> with(std::vector<std::string> command,
                                     const std::vector<std::string>& more) {
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

}  // namespace zoq::test
