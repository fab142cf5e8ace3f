// The trajectory: what a run asked of the model, and nothing more. With the mask and the settings
// it replays to the same values, bit for bit, without a forward pass.
//
//     zoq::trajectory_writer out("trajectory.jsonl", settings);
//     out.append(step.step, step.answers);
//     zoq::trajectory t = zoq::read_trajectory("trajectory.jsonl");    // t.losses[step]
//
// JSON lines: the settings first, then {"step": 7, "losses": [...]} in order. A number is written
// with as many digits as bring back the same double. A line is written at once; one that was cut
// short at the end by a crash is left out when reading.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/json.hpp"
#include "zoq/io/mapped_file.hpp"

namespace zoq {

/// A run's settings, and the losses of its steps.
struct trajectory {
  nlohmann::json settings = nlohmann::json::object();  // the first line of the file
  std::vector<std::vector<answer>> losses;             // by step
};

/// A file that grows by whole lines.
class line_file {
 public:
  /// Opens for appending; made when missing. Throws, naming the file.
  explicit line_file(std::string path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    require(descriptor_ >= 0, path_, ": cannot be opened: ", std::strerror(errno));
  }
  /// Leaves `other` without a file.
  line_file(line_file&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  line_file& operator=(line_file&&) = delete;
  /// Nothing is lost that was flushed before.
  ~line_file() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }

  /// Adds one line in a single write. Throws, naming the file and the cause, when the disk does not take
  /// it: the file then ends as before, or in a part of a line, which readers leave out.
  void append(const nlohmann::json& line) {
    const std::string text = line.dump() + "\n";
    const ::off_t before = ::lseek(descriptor_, 0, SEEK_END);
    try {
      detail::write_all(path_, std::as_bytes(std::span<const char>(text.data(), text.size())),
                        [this](std::span<const std::byte> rest) {
                          return ::write(descriptor_, rest.data(), rest.size());
                        });
    } catch (const error&) {
      // A line after this one would make it the middle of the file.
      static_cast<void>(before >= 0 && ::ftruncate(descriptor_, before) == 0);
      throw;
    }
  }

  /// Brings all lines to the disk. Throws, naming the file and the cause.
  void flush() const {
    const bool done = detail::flush(descriptor_);  // before errno is read
    require(done, path_, ": cannot be flushed: ", std::strerror(errno));
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// Calls each(line, number from 1) for the whole lines of a file, JSON objects; for none when it is missing.
/// A last line without its end is left out. Throws, naming file and line, on anything else. Memory: one
/// line's.
template <class F>
void for_each_line(const std::string& path, const F& each) {
  if (!std::filesystem::exists(path)) {
    return;
  }
  const mapped_file file(path);
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  std::size_t number = 1;
  for (std::size_t end; (end = rest.find('\n')) != rest.npos; ++number) {
    nlohmann::json line = parse_json(rest.substr(0, end), text(path, ":", number));
    require(line.is_object(), path, ":", number, ": not a JSON object");
    each(std::move(line), number);
    rest.remove_prefix(end + 1);
  }
}

/// The same lines at once.
inline std::vector<nlohmann::json> read_lines(const std::string& path) {
  std::vector<nlohmann::json> out;
  for_each_line(path, [&](nlohmann::json line, std::size_t) { out.push_back(std::move(line)); });
  return out;
}

/// Replaces a file of lines, whole or not at all: how lines after a checkpoint are taken back.
inline void write_lines(const std::string& path, std::span<const nlohmann::json> lines) {
  std::string text;
  for (const auto& line : lines) {
    text += line.dump() + "\n";
  }
  write_file_atomically(path, text);
}

/// Writes a trajectory as the run goes, a line a step.
class trajectory_writer {
 public:
  /// Begins a trajectory with its settings, or goes on with one whose steps are `kept`.
  trajectory_writer(const std::string& path, const nlohmann::json& settings,
                    std::span<const std::vector<answer>> kept = {})
      : file_((write_lines(path, lines_of(settings, kept)), path)) {}

  /// Throws, naming the file; or the step, when one of its losses is not finite.
  void append(std::uint64_t step, std::span<const answer> losses) {
    file_.append(line_of(step, losses));
  }
  /// Brings all steps to the disk. Throws, naming the file and the cause.
  void flush() const { file_.flush(); }

 private:
  static nlohmann::json line_of(std::uint64_t step, std::span<const answer> losses) {
    nlohmann::json line = {{"step", step}, {"losses", nlohmann::json::array()}};
    for (const answer& a : losses) {
      require(std::isfinite(a.loss), "trajectory: a loss of step ", step, " is ", a.loss);
      line["losses"].push_back(a.loss);
    }
    return line;
  }
  static std::vector<nlohmann::json> lines_of(const nlohmann::json& settings,
                                              std::span<const std::vector<answer>> kept) {
    std::vector<nlohmann::json> lines = {settings};
    for (std::size_t step = 0; step < kept.size(); ++step) {
      lines.push_back(line_of(step, kept[step]));
    }
    return lines;
  }

  line_file file_;
};

/// Throws, naming file and line, when the file is missing, has no settings, or its steps are not
/// 0, 1, 2, ...
inline trajectory read_trajectory(const std::string& path) {
  require(std::filesystem::exists(path), path, ": there is no such file");
  trajectory t;
  bool begun = false;
  for_each_line(path, [&](nlohmann::json line, std::size_t number) {
    if (!begun) {
      const auto format = line.find("zoq");
      require(format != line.end() && *format == "trajectory.1", path,
              ":1: not the settings of a trajectory");
      t.settings = std::move(line);
      begun = true;
      return;
    }
    const auto step = line.find("step");
    const auto losses = line.find("losses");
    require(step != line.end() && step->is_number_unsigned() && *step == t.losses.size() &&
                losses != line.end() && losses->is_array(),
            path, ":", number, ": wanted the losses of step ", t.losses.size());
    std::vector<answer> answers;
    for (const auto& loss : *losses) {
      require(loss.is_number(), path, ":", number, ": a loss is not a number");
      answers.push_back({loss.get<double>()});
    }
    t.losses.push_back(std::move(answers));
  });
  require(begun, path, ":1: not the settings of a trajectory");
  return t;
}

}  // namespace zoq
