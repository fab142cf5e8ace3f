// Errors: one exception type whose message names the place, what was found and what was wanted.
//
//     zoq::require(x.shape[1] == w.columns, "linear: x has ", x.shape[1], " columns, ", name,
//                  " needs ", w.columns);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace zoq {

/// Thrown for every wrong use and every bad input. The library never prints and never exits.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The arguments written one after another, as `operator<<` writes them.
template <class... Args>
[[nodiscard]] std::string text(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

/// Throws `error` with the arguments as its message. It is one line: control characters, which may come
/// from a file's own texts, become '?'.
template <class... Args>
[[noreturn]] void fail(const Args&... args) {
  std::string message = text(args...);
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      c = '?';
    }
  }
  throw error(message);
}

/// Throws `error` with the arguments as its message unless `condition` holds. The message is only
/// built on failure.
template <class... Args>
void require(bool condition, const Args&... args) {
  if (!condition) [[unlikely]] {
    fail(args...);
  }
}

}  // namespace zoq
