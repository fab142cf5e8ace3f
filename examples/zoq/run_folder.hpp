// The folder of a run: who may use it, and what lies where.
//
//     mask.safetensors        the places that are tuned, of views that have a mask
//     start.safetensors       the values that the run began with, unless these were all zero
//     trajectory.jsonl        settings, then the losses of every step: enough to replay the run
//     checkpoint.safetensors  values after some step: a resumed run goes on from here
//     metrics.jsonl           loss, slope and speed of every step; valid figures now and then
//     delta.safetensors       the last values
//     best.safetensors        the values that did best on the valid rows
//     result.json             what the run said at its end
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <zoq/core/error.hpp>
#include <zoq/io/atomic_file.hpp>
#include <zoq/io/mapped_file.hpp>

namespace zoq::cli {

class run_folder {
 public:
  enum class start { fresh, resume, force };

  /// Makes the folder if need be and keeps others out while this object lives: a lock of the
  /// kernel's on the folder itself, so a killed run leaves none behind. Takes away the temporary files
  /// that one left. Throws, naming the folder and the cause, when it holds a run and `how` is fresh, when
  /// it is in use, or when it cannot be made or written.
  run_folder(std::string path, start how) : path_(std::move(path)) {
    std::error_code cause;
    made_ = std::filesystem::create_directories(path_, cause);
    require(!cause, path_, ": cannot make the folder: ", cause.message());
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(descriptor_ >= 0, path_, ": cannot open: ", std::strerror(errno));
    try {
      if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        require(errno != EWOULDBLOCK, path_, ": another run is using this folder");
        fail(path_, ": cannot be locked: ", std::strerror(errno));
      }
      const bool writable = ::access(path_.c_str(), W_OK | X_OK) == 0;  // before errno is read
      require(writable, path_, ": cannot be written: ", std::strerror(errno));
      require(how != start::fresh || !holds_run(), path_,
              " already holds a run: --resume goes on with it, --force starts again");
      remove_parts();
      if (made_) {
        detail::flush_folder(path_ + "/..", path_);
      }
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
    resumes_ = how == start::resume && exists_at(*this / "checkpoint.safetensors");
  }
  run_folder(const run_folder&) = delete;
  run_folder& operator=(const run_folder&) = delete;
  /// A folder that was made and stayed empty is taken away.
  ~run_folder() {
    if (made_) {
      ::rmdir(path_.c_str());
    }
    ::close(descriptor_);
  }

  /// True when there is a checkpoint to go on from.
  [[nodiscard]] bool resumes() const { return resumes_; }

  [[nodiscard]] std::string operator/(const char* name) const { return path_ + "/" + name; }

  /// True for a file of the run: one that clear() removes.
  [[nodiscard]] bool holds(const std::string& file) const {
    std::error_code missing;
    return std::any_of(std::begin(names), std::end(names), [&](const char* name) {
      return std::filesystem::equivalent(file, *this / name, missing);
    });
  }

  /// Removes what an earlier run left, the checkpoint first: what is left of it does not resume. Throws,
  /// naming the file and the cause.
  void clear() const {
    for (const char* name : names) {
      remove(*this / name);
    }
    detail::flush_folder(path_, path_);
  }

 private:
  static constexpr const char* names[] = {
      "checkpoint.safetensors", "trajectory.jsonl", "metrics.jsonl",     "delta.safetensors",
      "best.safetensors",       "mask.safetensors", "start.safetensors", "result.json"};

  static void remove(const std::string& file) {
    const bool gone = ::unlink(file.c_str()) == 0 || errno == ENOENT;  // before errno is read
    require(gone, file, ": cannot be removed: ", std::strerror(errno));
  }

  // What writers that were killed left. The lock says that none is at work.
  void remove_parts() const {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path_, ignored)) {
      const std::string found = entry.path().filename().string();
      if (is_part_of(found, "report.html") ||
          std::any_of(std::begin(names), std::end(names),
                      [&](const char* name) { return is_part_of(found, name); })) {
        remove(entry.path().string());
      }
    }
  }

  [[nodiscard]] bool holds_run() const {
    for (const char* name : names) {
      if (exists_at(*this / name)) {
        return true;
      }
    }
    return false;
  }

  std::string path_;
  int descriptor_ = -1;
  bool made_ = false;
  bool resumes_ = false;
};

}  // namespace zoq::cli
