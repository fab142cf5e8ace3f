// Writes a file whole or not at all: a reader sees the old contents or the new, never a part.
//
//     zoq::atomic_file out("delta.safetensors");
//     out.write(header);
//     out.write(values);
//     out.commit();                                   // without it nothing changes
//     zoq::write_file_atomically("rows.txt", text);   // in one call
//
// The bytes go to a temporary file in the same folder; commit() flushes it to the disk, renames it
// over the target (which POSIX makes atomic), and flushes the folder, so that a power cut keeps the
// promise too. A process that is killed on the way leaves its temporary file behind, TARGET.NUMBER.part:
// is_part_of tells them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"

namespace zoq {

namespace detail {

/// Writes some of the bytes, from the first on: as ::write does.
using some_writer = function_ref<std::ptrdiff_t(std::span<const std::byte>)>;

/// Writes all bytes, by as many calls of some(rest) as it takes; it returns what it wrote, as ::write
/// does. Throws, naming `path` and the cause.
void write_all(const std::string& path, std::span<const std::byte> bytes, some_writer some);

/// Brings what was written to the disk; false, with errno, when that fails.
bool flush(int descriptor);

/// Brings the names in a folder to the disk. Throws, naming `path`, when the disk fails; a folder that may
/// be written and not read is left to the system.
void flush_folder(const std::string& folder, const std::string& path);

}  // namespace detail

/// Throws, naming `path`, when it is one of the `inputs`, or one of the files that are read of a folder among
/// them (.safetensors, .json, .jsonl): by whatever spelling or link. Empty names are none.
void require_no_input(const std::string& path, std::initializer_list<std::string_view> inputs);

/// True for the name of a temporary file that was to become the file of name `target`.
bool is_part_of(std::string_view name, std::string_view target);

class atomic_file {
 public:
  /// Creates the temporary file; `path` stays as it is until commit(). Throws `error`, naming
  /// `path` and the cause, when the folder is missing or read-only, or `path` is there and no file: a directory, a
  /// device, a pipe. A link is replaced by the file, and what it leads to stays as it is.
  explicit atomic_file(std::string path);

  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;

  /// Removes the temporary file unless it was committed.
  ~atomic_file() { abandon(); }

  /// Of the file that it becomes.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Appends `bytes`. Throws `error`, naming the file and the cause, e.g. a full disk. Unbuffered:
  /// many small pieces are better joined first.
  void write(std::span<const std::byte> bytes);
  /// Writes `bytes` from byte `offset` on, in any order: appending goes on where it was. Throws likewise.
  void write_at(index_t offset, std::span<const std::byte> bytes);
  /// Appends `chars`. Throws likewise.
  void write(std::string_view chars);

  /// Puts what was written in the place of `path`. Throws `error`, naming the file and the cause,
  /// and then leaves `path` as it was (but for a folder that cannot be flushed: the new contents are then
  /// in place, and a power cut may bring the old ones back).
  void commit();

 private:
  void put(std::span<const std::byte> bytes, detail::some_writer some);
  void check(bool done, const char* what);

  void flush_folder() const;
  void abandon() noexcept;

  std::string path_;
  std::string temporary_;  // empty once committed or abandoned
  int descriptor_ = -1;
};

/// Replaces the contents of `path` by `chars`, whole or not at all. Throws as atomic_file does.
void write_file_atomically(const std::string& path, std::string_view chars);

}  // namespace zoq

#if ZOQ_BODIES

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void write_all(const std::string& path, std::span<const std::byte> bytes,
                        some_writer some) {
  while (!bytes.empty()) {
    const std::ptrdiff_t n = some(bytes);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    require(n > 0, path, ": cannot write: ", std::strerror(n < 0 ? errno : EIO));
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

ZOQ_BODY bool flush(int descriptor) {
  int result = 0;
  do {
    result = ::fsync(descriptor);
  } while (result != 0 && errno == EINTR);
  return result == 0 || errno == EINVAL;  // EINVAL: a file system that knows no flush
}

ZOQ_BODY void flush_folder(const std::string& folder, const std::string& path) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    const bool done = flush(descriptor);
    const int cause = errno;
    ::close(descriptor);
    require(done, path, ": cannot flush its folder: ", std::strerror(cause));
  }
}

}  // namespace detail

ZOQ_BODY void require_no_input(const std::string& path,
                               std::initializer_list<std::string_view> inputs) {
  namespace fs = std::filesystem;
  const fs::path out = path;
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  std::error_code missing;
  const bool is_there = fs::is_regular_file(out, missing);
  const bool is_model =
      path.ends_with(".safetensors") || path.ends_with(".json") || path.ends_with(".jsonl");
  for (const std::string_view input : inputs) {
    if (input.empty() || !is_there) {
      continue;
    }
    const fs::path in = input;
    require(!fs::equivalent(out, in, missing) &&
                !(is_model && fs::is_directory(in, missing) && fs::equivalent(folder, in, missing)),
            path, ": is read, and cannot be written over");
  }
}

ZOQ_BODY bool is_part_of(std::string_view name, std::string_view target) {
  constexpr std::string_view end = ".part";
  if (!name.starts_with(target) || !name.ends_with(end) ||
      name.size() < target.size() + 2 + end.size() || name[target.size()] != '.') {
    return false;
  }
  const std::string_view number =
      name.substr(target.size() + 1, name.size() - target.size() - 1 - end.size());
  return number.find_first_not_of("0123456789") == std::string_view::npos;
}

ZOQ_BODY atomic_file::atomic_file(std::string path) : path_(std::move(path)) {
  struct stat facts = {};
  if (::stat(path_.c_str(), &facts) == 0) {
    require(!S_ISDIR(facts.st_mode), path_, ": is a directory, wanted a file");
    require(S_ISREG(facts.st_mode), path_, ": is a device or a pipe, wanted a file");
  }
  std::random_device source;
  for (int attempt = 0; attempt < 100 && descriptor_ < 0; ++attempt) {
    temporary_ = text(path_, ".", source(), ".part");
    // The mode honours the umask, as a file written plainly would.
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST && errno != EINTR) {
      break;
    }
  }
  require(descriptor_ >= 0, path_, ": cannot create: ", std::strerror(errno));
}

ZOQ_BODY void atomic_file::write(std::span<const std::byte> bytes) {
  put(bytes, [this](std::span<const std::byte> rest) {
    return ::write(descriptor_, rest.data(), rest.size());
  });
}

ZOQ_BODY void atomic_file::write_at(index_t offset, std::span<const std::byte> bytes) {
  put(bytes, [this, &offset](std::span<const std::byte> rest) {
    const ssize_t n = ::pwrite(descriptor_, rest.data(), rest.size(), static_cast<off_t>(offset));
    offset += n > 0 ? n : 0;
    return n;
  });
}

ZOQ_BODY void atomic_file::write(std::string_view chars) {
  write(std::as_bytes(std::span<const char>(chars.data(), chars.size())));
}

ZOQ_BODY void atomic_file::commit() {
  require(descriptor_ >= 0, path_, ": committed twice");
  check(detail::flush(descriptor_), "flush");
  check(::close(std::exchange(descriptor_, -1)) == 0 || errno == EINTR, "close");
  check(std::rename(temporary_.c_str(), path_.c_str()) == 0, "rename a temporary file to");
  temporary_.clear();
  flush_folder();
}

ZOQ_BODY void atomic_file::put(std::span<const std::byte> bytes, detail::some_writer some) {
  require(descriptor_ >= 0, path_, ": written after the end");
  detail::write_all(path_, bytes, some);
}

ZOQ_BODY void atomic_file::check(bool done, const char* what) {
  if (!done) {
    const int cause = errno;
    abandon();
    fail(path_, ": cannot ", what, " it: ", std::strerror(cause));
  }
}

ZOQ_BODY void atomic_file::flush_folder() const {
  const std::size_t slash = path_.rfind('/');
  detail::flush_folder(slash == std::string::npos ? "." : path_.substr(0, slash + 1), path_);
}

ZOQ_BODY void atomic_file::abandon() noexcept {
  if (descriptor_ >= 0) {
    ::close(std::exchange(descriptor_, -1));
  }
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
    temporary_.clear();
  }
}

ZOQ_BODY void write_file_atomically(const std::string& path, std::string_view chars) {
  atomic_file file(path);
  file.write(chars);
  file.commit();
}

}  // namespace zoq

#endif
