// A mapped file that another program makes shorter: the pages behind its new end are gone, and whoever
// reads them gets the signal SIGBUS, which ends a program without a word. A program may have it named.
//
//     zoq::when_a_file_shrinks([](const char* path) noexcept {     // in main, once
//       ...                                                        // write(2) a message, _exit(1)
//     });
//
// Nothing else changes: no file is watched, and reading costs the same. What lies between the new end and
// the end of its page reads as zero, and what is overwritten in place reads as it is now: files in use
// are replaced by renaming, as io/atomic_file.hpp does. Linux: the path is found in /proc/self/maps.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// Called from the signal handler, on the thread that was reading, with the file's path as the system
/// knows it (or "a mapped file"). It may only do what signal handlers may (man 7 signal-safety), and
/// should end the program: when it returns, the signal ends it.
using shrunk_file_report = void (*)(const char* path) noexcept;

namespace detail {

/// Finds the mapping of `address` and stores its path, of at most `room` bytes with the end. False when
/// no file is mapped there. Reads /proc/self/maps, "FIRST-LAST rights offset device inode   path" a line,
/// without allocating: safe in a signal handler.
bool mapped_path_at(std::uintptr_t address, char* path, std::size_t room);

}  // namespace detail

/// From now on `report` is called when this program reads a mapped file behind its end; one report is
/// kept, the last. For programs, which own their signals: the library itself never calls it. Throws when
/// the system takes no handler.
void when_a_file_shrinks(shrunk_file_report report);

}  // namespace zoq

#if ZOQ_BODIES

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction is POSIX
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

inline std::atomic<shrunk_file_report> report_shrunk_file{nullptr};

ZOQ_BODY bool mapped_path_at(std::uintptr_t address, char* path, std::size_t room) {
  const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) {
    return false;
  }
  enum { first, last, rest, name } part = first;
  std::uintptr_t from = 0, to = 0;
  std::size_t length = 0;
  char some[1024];
  for (::ssize_t n; (n = ::read(maps, some, sizeof some)) > 0;) {
    for (::ssize_t i = 0; i < n; ++i) {
      const char c = some[i];
      if (c == '\n') {
        if (part == name && from <= address && address < to) {
          path[length] = '\0';
          ::close(maps);
          return true;
        }
        part = first;
        from = to = 0;
        length = 0;
      } else if (part == first || part == last) {
        std::uintptr_t& number = part == first ? from : to;
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit >= 0) {
          number = number * 16 + static_cast<std::uintptr_t>(digit);
        } else {
          part = part == first ? last : rest;
        }
      } else if (part == rest && c == '/') {  // what stands before holds none but "fd:01"
        part = name;
        path[length++] = c;
      } else if (part == name && length + 1 < room) {
        path[length++] = c;
      }
    }
  }
  ::close(maps);
  return false;
}

extern "C" ZOQ_BODY void zoq_on_bus_error(int signal, siginfo_t* facts, void*) {
  // The same signal has other causes: an address that is not aligned, memory that broke.
  if (facts->si_code == BUS_ADRERR) {
    char path[4096];
    const bool known =
        mapped_path_at(reinterpret_cast<std::uintptr_t>(facts->si_addr), path, sizeof path);
    if (const shrunk_file_report report = report_shrunk_file.load()) {
      report(known ? path : "a mapped file");
    }
  }
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(signal, &standard, nullptr);
  ::raise(signal);
}

}  // namespace detail

ZOQ_BODY void when_a_file_shrinks(shrunk_file_report report) {
  detail::report_shrunk_file.store(report);
  struct sigaction action = {};
  action.sa_sigaction = detail::zoq_on_bus_error;
  action.sa_flags = SA_SIGINFO;
  require(::sigaction(SIGBUS, &action, nullptr) == 0, "shrunk_file: no handler of SIGBUS");
}

}  // namespace zoq

#endif
