// How far long work is, on standard error: a bar that is drawn again on a terminal, a line now and
// then elsewhere.
//
//     zoq::cli::progress bar("tuning", 400);
//     bar.show(120, "loss 0.53  812 tokens/s");
//     bar.finish();
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <zoq/core/config.hpp>

namespace zoq::cli {

class progress {
 public:
  progress(std::string what, index_t all, index_t done_before = 0)
      : what_(std::move(what)), all_(all), before_(done_before) {}
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  ~progress() { finish(); }

  /// Nothing is shown while this is set, by any bar.
  static inline bool silent = false;

  void show(index_t done, const std::string& detail = "") {
    if (silent) {
      return;
    }
    const auto now = clock::now();
    const std::chrono::duration<double> pause = now - shown_;
    if (done < all_ && pause.count() < (terminal_ ? 0.1 : 10.0)) {
      return;
    }
    shown_ = now;
    const std::chrono::duration<double> spent = now - start_;
    const index_t here = done - before_;
    std::string tail = "  " + std::to_string(done) + "/" + std::to_string(all_);
    if (!detail.empty()) {
      tail += "  " + detail;
    }
    if (here > 0) {
      tail += done < all_ ? "  " +
                                clock_text(spent.count() / static_cast<double>(here) *
                                           static_cast<double>(all_ - done)) +
                                " left"
                          : "  " + clock_text(spent.count());
    }
    if (!terminal_) {
      std::fprintf(stderr, "%-10s%s\n", what_.c_str(), tail.c_str());
      return;
    }
    const index_t room =
        std::clamp<index_t>(width() - 14 - static_cast<index_t>(tail.size()), 8, 40);
    const index_t full = all_ > 0 ? room * done / all_ : room;
    std::string bar(static_cast<std::size_t>(full), '#');
    bar.resize(static_cast<std::size_t>(room), '.');
    std::fprintf(stderr, "\r%-10s [%s]%s\033[K", what_.c_str(), bar.c_str(), tail.c_str());
    std::fflush(stderr);
    open_ = true;
  }

  /// Leaves the bar as it stands and goes to the next line.
  void finish() {
    if (open_) {
      std::fputc('\n', stderr);
      open_ = false;
    }
  }

  /// Takes the bar away, for a line of other text.
  void erase() {
    if (open_) {
      std::fputs("\r\033[K", stderr);
      open_ = false;
    }
  }

 private:
  using clock = std::chrono::steady_clock;

  static std::string clock_text(double seconds) {
    const auto s = static_cast<index_t>(seconds + 0.5);
    char out[32];
    if (s >= 3600) {
      std::snprintf(out, sizeof out, "%ld:%02ld:%02ld", static_cast<long>(s / 3600),
                    static_cast<long>(s / 60 % 60), static_cast<long>(s % 60));
    } else {
      std::snprintf(out, sizeof out, "%ld:%02ld", static_cast<long>(s / 60),
                    static_cast<long>(s % 60));
    }
    return out;
  }

  static index_t width() {
    struct winsize size = {};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  }

  std::string what_;
  index_t all_, before_;
  bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  bool open_ = false;
  clock::time_point start_ = clock::now();
  clock::time_point shown_ = clock::now() - std::chrono::hours(1);
};

}  // namespace zoq::cli
