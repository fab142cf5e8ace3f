// Who takes the steps of a run: this process alone, or in zoq-mpi all that mpirun started.
//
//     const processes all(&argc, &argv);        // in main
//     work_folder place(options.out);           // the run's folder; the others have one of their own
//     trainer tuner(..., team_of_run());
//
// The first process owns the folder of the run and speaks; the others take their part of the forwards, and what
// they write goes to a folder that is removed at their end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <zoq/io/mask_file.hpp>
#include <zoq/train/team.hpp>

#include "command.hpp"
#include "describe_run.hpp"
#include "interrupt.hpp"
#include "progress.hpp"
#include "run_folder.hpp"

#ifdef ZOQ_WITH_MPI
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <system_error>
#include <thread>
#include <zoq/dist/mpi_team.hpp>
#include <zoq/io/mapped_file.hpp>
#endif

namespace zoq::cli {

#ifdef ZOQ_WITH_MPI

inline mpi_team team_of_run() {
  return mpi_team(MPI_COMM_WORLD,
                  {.waiting = [] { interrupt::check("stopped; --resume goes on"); }});
}
inline bool leads() { return team_of_run().rank() == 0; }
/// Before what a process other than the first says.
inline std::string who() {
  return leads() ? std::string() : text("process ", team_of_run().rank(), ": ");
}

/// What the first process has in `bytes`, in all. Waits without work: it may take minutes until it comes.
inline void spread(std::string& bytes) {
  const auto all = [](void* at, std::size_t n) {
    constexpr std::size_t most = std::size_t{1} << 30;  // MPI counts in ints
    for (std::size_t first = 0; first < n; first += most) {
      MPI_Request request{};
      MPI_Ibcast(static_cast<char*>(at) + first, static_cast<int>(std::min(most, n - first)),
                 MPI_BYTE, 0, MPI_COMM_WORLD, &request);
      for (int done = 0; MPI_Test(&request, &done, MPI_STATUS_IGNORE), done == 0;) {
        interrupt::check("stopped; --resume goes on");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  };
  std::uint64_t size = bytes.size();
  all(&size, sizeof size);
  bytes.resize(size);
  all(bytes.data(), size);
}

/// A new folder under the system's for temporary files, removed with all that is in it.
class temporary_place {
 public:
  temporary_place() {
    path_ = (std::filesystem::temp_directory_path() / "zoq-XXXXXX").string();
    require(::mkdtemp(path_.data()) != nullptr, path_, ": cannot be made: ", std::strerror(errno));
  }
  temporary_place(const temporary_place&) = delete;
  temporary_place& operator=(const temporary_place&) = delete;
  ~temporary_place() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(const char* name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string bytes_of(const std::string& file) {
  const mapped_file in(file);
  return {reinterpret_cast<const char*>(in.bytes().data()), in.bytes().size()};
}

/// What the first process makes, on all: `make` is called there alone.
template <class Make>
mask made_once(const Make& make) {
  const temporary_place place;
  std::string bytes;
  if (leads()) {
    write_mask(place / "mask.safetensors", make());
    bytes = bytes_of(place / "mask.safetensors");
  }
  spread(bytes);
  if (!leads()) {
    write_file_atomically(place / "mask.safetensors", bytes);
  }
  return read_mask(place / "mask.safetensors");
}

/// The folder that this process works in.
class work_folder {
 public:
  /// On all but the first: waits until that one has shared its files.
  explicit work_folder(const std::string& out) : path_(out) {
    if (!leads()) {
      path_ = own_.emplace().path();
      for (const char* name : handed_out) {
        std::string bytes;
        spread(bytes);
        if (!bytes.empty()) {
          write_file_atomically(*own_ / name, bytes);
        }
      }
    }
  }
  [[nodiscard]] const std::string& path() const { return path_; }

  /// On the first, once it has the folder: hands out what a resumed run goes on from.
  static void share(const run_folder& folder) {
    if (leads()) {
      for (const char* name : handed_out) {
        std::string bytes =
            folder.resumes() && exists_at(folder / name) ? bytes_of(folder / name) : std::string();
        spread(bytes);
      }
    }
  }

 private:
  static constexpr std::array handed_out = {"checkpoint.safetensors", "trajectory.jsonl",
                                            "metrics.jsonl", "mask.safetensors",
                                            "start.safetensors"};
  std::optional<temporary_place> own_;
  std::string path_;
};

/// Throws on all but the first where these settings are not those of the first.
inline void require_same_on_all(const nlohmann::json& settings) {
  std::string first = line_of(settings);
  spread(first);
  require_same_settings(settings, nlohmann::json::parse(first), "the first process");
}

/// All of them, from main's first line to its last.
class processes {
 public:
  processes(int* argc, char*** argv) {
    MPI_Init(argc, argv);
    if (!leads()) {
      require(std::freopen("/dev/null", "w", stdout) != nullptr, "/dev/null: cannot be opened");
      std::cerr.setstate(std::ios_base::failbit);  // takes no more text
      progress::silent = true;
    }
  }
  processes(const processes&) = delete;
  processes& operator=(const processes&) = delete;

  /// Ends all of them with the code of this one. A run that is complete ends alike on all; what a signal asked
  /// for is the first's to save and to say.
  static int end(int code) {
    if (code == 0 || code == exit_diverged) {
      MPI_Finalize();
      return code;
    }
    std::fflush(nullptr);
    std::this_thread::sleep_for(std::chrono::seconds(leads() ? 1 : 10));  // for others to say why
    MPI_Abort(MPI_COMM_WORLD, code);
    return code;
  }
};

#else

inline alone team_of_run() { return {}; }
inline bool leads() { return true; }
inline std::string who() { return {}; }
inline void require_same_on_all(const nlohmann::json&) {}

template <class Make>
mask made_once(const Make& make) {
  return make();
}

class work_folder {
 public:
  explicit work_folder(const std::string& out) : path_(out) {}
  [[nodiscard]] const std::string& path() const { return path_; }
  static void share(const run_folder&) {}

 private:
  std::string path_;
};

class processes {
 public:
  processes(int*, char***) {}
  static int end(int code) { return code; }
};

#endif

}  // namespace zoq::cli
