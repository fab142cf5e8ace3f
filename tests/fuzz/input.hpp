// What fuzz targets share: the bytes of an input as a file, and what may come of reading it.
//
//     extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
//       const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
//       zoq::fuzz::read_or_refused([&] { zoq::read_mask(input.path()); });
//       return 0;
//     }
//
// A reader reads, or throws an `error` of one bounded line. Anything else, another exception too, is a
// finding. Files lie in memory: the readers' own functions open them by a path, as for a user.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace zoq::fuzz {

/// Ends the program, so that the fuzzer keeps the input.
[[noreturn]] inline void found(const char* what, std::string_view detail) {
  std::fprintf(stderr, "found: %s: %.*s\n", what, static_cast<int>(detail.size()), detail.data());
  std::abort();
}

inline void expect(bool condition, const char* what, std::string_view detail = {}) {
  if (!condition) {
    found(what, detail);
  }
}

/// A file in memory, by a path that can be opened again and again.
class file {
 public:
  file() : descriptor_(::memfd_create("input", MFD_CLOEXEC)) {
    expect(descriptor_ >= 0, "no file in memory");
  }
  file(const file&) = delete;
  file& operator=(const file&) = delete;
  ~file() { ::close(descriptor_); }

  void assign(std::span<const std::uint8_t> bytes) {
    expect(::ftruncate(descriptor_, 0) == 0, "a file cannot be emptied");
    for (std::size_t done = 0; done < bytes.size();) {
      const ::ssize_t n = ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done,
                                   static_cast<::off_t>(done));
      expect(n > 0, "a file cannot be written");
      done += static_cast<std::size_t>(n);
    }
  }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// One file for all inputs, with these bytes.
inline const file& as_file(std::span<const std::uint8_t> bytes) {
  static file input;
  input.assign(bytes);
  return input;
}

inline std::string_view as_text(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The pieces between the lines that are "---" alone: for inputs of several files.
inline std::vector<std::string_view> pieces_of(std::string_view text) {
  constexpr std::string_view line = "\n---\n";
  std::vector<std::string_view> out;
  for (std::size_t end; (end = text.find(line)) != text.npos;) {
    out.push_back(text.substr(0, end));
    text.remove_prefix(end + line.size());
  }
  out.push_back(text);
  return out;
}

/// Runs `read`. An `error` must be one line that a terminal can show; with ZOQ_FUZZ_SAY in the environment
/// it is printed.
template <class Read>
void read_or_refused(const Read& read) {
  try {
    read();
  } catch (const error& e) {
    const std::string_view message = e.what();
    static const bool say = std::getenv("ZOQ_FUZZ_SAY") != nullptr;
    if (say) {
      std::printf("  %s\n", e.what());
    }
    expect(!message.empty() && message.size() < 4000, "a message of an odd length", message);
    for (const char c : message) {
      expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "a message of several lines",
             message);
    }
  }
}

/// Every byte is read, so that a sanitizer sees where it lies.
inline void touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte b : bytes) {
    sum += static_cast<unsigned>(b);
  }
  volatile unsigned kept = sum;
  (void)kept;
}

}  // namespace zoq::fuzz
