// Ctrl-C and SIGTERM ask for an end; the work goes on to where it can be saved. A second signal
// ends the program at once.
//
//     zoq::cli::interrupt asked;                       // from here on
//     if (asked.signal() != 0) { save(); asked.stop(); }
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>

namespace zoq::cli {

/// Thrown once all is saved. The exit code becomes 128 + signal.
struct stopped : std::runtime_error {
  int signal;
  stopped(int number, const std::string& what) : std::runtime_error(what), signal(number) {}
};

class interrupt {
 public:
  interrupt() {
    struct sigaction action = {};
    action.sa_handler = [](int number) {
      if (received_ != 0) {
        ::_exit(128 + number);
      }
      received_ = number;
    };
    ::sigaction(SIGINT, &action, &before_int_);
    ::sigaction(SIGTERM, &action, &before_term_);
  }
  interrupt(const interrupt&) = delete;
  interrupt& operator=(const interrupt&) = delete;
  ~interrupt() {
    ::sigaction(SIGINT, &before_int_, nullptr);
    ::sigaction(SIGTERM, &before_term_, nullptr);
  }

  /// The signal that came, or 0.
  [[nodiscard]] static int signal() { return received_; }

  /// Throws `stopped` if a signal came.
  static void check(const std::string& what) {
    if (received_ != 0) {
      throw stopped(received_, what);
    }
  }

 private:
  static inline volatile std::sig_atomic_t received_ = 0;
  struct sigaction before_int_ = {};
  struct sigaction before_term_ = {};
};

}  // namespace zoq::cli
