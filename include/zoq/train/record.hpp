// The trajectory: what a run asked of the model, and nothing more. With the mask and the settings
// it replays to the same values, bit for bit, without a forward pass.
//
//     zoq::trajectory_writer out("trajectory.jsonl", settings);
//     out.append(step.step, step.answers);
//
// JSON lines: the settings first, then {"step": 7, "losses": [...]} in order. A number is written
// with as many digits as bring back the same double. A line is written at once; one that was cut
// short at the end by a crash is left out when reading. train/trajectory.hpp reads it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

/// A file that grows by whole lines.
class line_file {
 public:
  /// Opens for appending; made when missing. Throws, naming the file.
  explicit line_file(std::string path);
  /// Leaves `other` without a file.
  line_file(line_file&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  line_file& operator=(line_file&&) = delete;
  /// Nothing is lost that was flushed before.
  ~line_file();

  /// Adds one line in a single write. Throws, naming the file and the cause, when the disk does not take
  /// it: the file then ends as before, or in a part of a line, which readers leave out.
  void append(const nlohmann::json& line);

  /// Brings all lines to the disk. Throws, naming the file and the cause, also when it was removed.
  void flush() const;

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// Calls each(line, number from 1) for the whole lines of a file, JSON objects; for none when it is missing.
/// A last line without its end is left out. Throws, naming file and line, on anything else. Memory: one
/// line's.
void for_each_line(const std::string& path,
                   function_ref<void(nlohmann::json&& line, std::size_t number)> each);

/// The same lines at once.
std::vector<nlohmann::json> read_lines(const std::string& path);

/// Replaces a file of lines, whole or not at all: how lines after a checkpoint are taken back.
void write_lines(const std::string& path, std::span<const nlohmann::json> lines);

/// Writes a trajectory as the run goes, a line a step.
class trajectory_writer {
 public:
  /// Begins a trajectory with its settings, or goes on with one whose steps are `kept`.
  trajectory_writer(const std::string& path, const nlohmann::json& settings,
                    std::span<const std::vector<answer>> kept = {});

  /// Throws, naming the file; or the step, when one of its losses is not finite.
  void append(std::uint64_t step, std::span<const answer> losses);
  /// Brings all steps to the disk. Throws, naming the file and the cause.
  void flush() const { file_.flush(); }

 private:
  line_file file_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "zoq/core/error.hpp"
#include "zoq/io/atomic_file.hpp"
#include "zoq/io/json.hpp"
#include "zoq/io/mapped_file.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY nlohmann::json trajectory_line(std::uint64_t step, std::span<const answer> losses) {
  nlohmann::json line = {{"step", step}, {"losses", nlohmann::json::array()}};
  for (const answer& a : losses) {
    require(std::isfinite(a.loss), "trajectory: a loss of step ", step, " is ", a.loss);
    line["losses"].push_back(a.loss);
  }
  return line;
}

ZOQ_BODY std::vector<nlohmann::json> trajectory_lines(const nlohmann::json& settings,
                                                      std::span<const std::vector<answer>> kept) {
  std::vector<nlohmann::json> lines = {settings};
  for (std::size_t step = 0; step < kept.size(); ++step) {
    lines.push_back(trajectory_line(step, kept[step]));
  }
  return lines;
}

}  // namespace detail

ZOQ_BODY line_file::line_file(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  require(descriptor_ >= 0, path_, ": cannot be opened: ", std::strerror(errno));
}

ZOQ_BODY line_file::~line_file() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

ZOQ_BODY void line_file::append(const nlohmann::json& line) {
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

ZOQ_BODY void line_file::flush() const {
  const bool done = detail::flush(descriptor_);  // before errno is read
  require(done, path_, ": cannot be flushed: ", std::strerror(errno));
  struct stat facts = {};
  require(::fstat(descriptor_, &facts) == 0 && facts.st_nlink > 0, path_,
          ": was removed while it was written");
}

ZOQ_BODY void for_each_line(const std::string& path,
                            function_ref<void(nlohmann::json&& line, std::size_t number)> each) {
  if (!exists_at(path)) {
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

ZOQ_BODY std::vector<nlohmann::json> read_lines(const std::string& path) {
  std::vector<nlohmann::json> out;
  for_each_line(path, [&](nlohmann::json&& line, std::size_t) { out.push_back(std::move(line)); });
  return out;
}

ZOQ_BODY void write_lines(const std::string& path, std::span<const nlohmann::json> lines) {
  std::string text;
  for (const auto& line : lines) {
    text += line.dump() + "\n";
  }
  write_file_atomically(path, text);
}

ZOQ_BODY trajectory_writer::trajectory_writer(const std::string& path,
                                              const nlohmann::json& settings,
                                              std::span<const std::vector<answer>> kept)
    : file_((write_lines(path, detail::trajectory_lines(settings, kept)), path)) {}

ZOQ_BODY void trajectory_writer::append(std::uint64_t step, std::span<const answer> losses) {
  file_.append(detail::trajectory_line(step, losses));
}

}  // namespace zoq

#endif
