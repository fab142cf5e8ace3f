// A folder that lives as long as the object, for tests that write files.
//
//     zoq::test::temporary_folder folder;
//     zoq::write_file_atomically(folder / "x.txt", "...");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp is POSIX

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "zoq/core/error.hpp"

namespace zoq::test {

class temporary_folder {
 public:
  temporary_folder() {
    path_ = (std::filesystem::temp_directory_path() / "zoq_test_XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) {
      throw std::runtime_error("cannot make a temporary folder");
    }
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  /// Names in the folder.
  std::size_t entries() const {
    const std::filesystem::directory_iterator all(path_);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

 private:
  std::string path_;
};

inline std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void put(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Puts the bytes of `now` in the place of those of `was`, which must be there: what no writer writes.
template <class T>
void replace_in(const std::string& path, T was, T now) {
  std::string bytes = contents(path);
  const std::string old(reinterpret_cast<const char*>(&was), sizeof was);
  const std::size_t at = bytes.find(old);
  require(at != std::string::npos, "test: the value is not in ", path);
  bytes.replace(at, sizeof now, reinterpret_cast<const char*>(&now), sizeof now);
  put(path, bytes);
}

/// The message of the zoq::error that `f` throws; "" when it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const error& e) {
    return e.what();
  }
  return "";
}

/// True when `message` is one clear line: not empty, no control characters, of bounded length.
inline bool is_one_line(const std::string& message) {
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20) {
      return false;
    }
  }
  return !message.empty() && message.size() < 600;
}

}  // namespace zoq::test
