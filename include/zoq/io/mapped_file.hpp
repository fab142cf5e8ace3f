// A file's bytes as memory, read-only: nothing is copied, pages come from the disk when touched and
// are shared between processes.
//
//     zoq::mapped_file file("model.gguf");
//     std::span<const std::byte> bytes = file.bytes();
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "zoq/core/config.hpp"

namespace zoq {

/// True when something lies at the path. Throws, naming it and the cause, when that is not to be known: a loop of
/// links, a name that is too long, a folder that cannot be looked into.
bool exists_at(const std::string& path);
/// The same of a folder.
bool is_folder_at(const std::string& path);

/// Move-only; the address of the bytes survives a move. Another process that shortens the file
/// while it is mapped makes a later access fail with SIGBUS: replace files by renaming, as
/// atomic_file does, and the mapping keeps the old contents.
class mapped_file {
 public:
  mapped_file() = default;

  /// Maps the whole file; constant time. An empty file has no bytes. Throws `error`, naming file
  /// and cause, when it cannot be opened or is no regular file.
  explicit mapped_file(std::string path);

  /// Leaves `other` without bytes.
  mapped_file(mapped_file&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  /// Likewise; what this one had is unmapped.
  mapped_file& operator=(mapped_file&& other) noexcept;
  ~mapped_file() { unmap(); }

  /// All of the file.
  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// As it was opened; empty when nothing was.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Asks the system to read all pages soon. Only a hint: no effect on what is read, no errors.
  void will_need() const;

  /// Gives the pages in memory back to the system; a later access reads them from the file again.
  void drop_pages() const;

 private:
  void advise(int what) const;
  void unmap() noexcept;

  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY std::filesystem::file_type type_at(const std::string& path) {
  std::error_code cause;
  const std::filesystem::file_type type = std::filesystem::status(path, cause).type();
  require(type != std::filesystem::file_type::none, path,
          ": cannot be looked at: ", cause.message());
  return type;
}

struct descriptor_closer {
  int descriptor;
  explicit descriptor_closer(int d) : descriptor(d) {}
  descriptor_closer(const descriptor_closer&) = delete;
  descriptor_closer& operator=(const descriptor_closer&) = delete;
  ~descriptor_closer() { ::close(descriptor); }
};

}  // namespace detail

ZOQ_BODY bool exists_at(const std::string& path) {
  return detail::type_at(path) != std::filesystem::file_type::not_found;
}

ZOQ_BODY bool is_folder_at(const std::string& path) {
  return detail::type_at(path) == std::filesystem::file_type::directory;
}

ZOQ_BODY mapped_file::mapped_file(std::string path) : path_(std::move(path)) {
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  require(descriptor >= 0, path_, ": cannot open: ", std::strerror(errno));
  const detail::descriptor_closer close_at_end{descriptor};
  struct stat facts = {};
  const bool known = ::fstat(descriptor, &facts) == 0;
  require(known, path_, ": cannot stat: ", std::strerror(errno));
  require(!S_ISDIR(facts.st_mode), path_, ": is a directory, wanted a file");
  require(S_ISREG(facts.st_mode), path_, ": is not a regular file");
  if (facts.st_size == 0) {
    return;
  }
  void* address = ::mmap(nullptr, static_cast<std::size_t>(facts.st_size), PROT_READ, MAP_PRIVATE,
                         descriptor, 0);
  require(address != MAP_FAILED, path_, ": cannot map ", facts.st_size,
          " bytes: ", std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
  size_ = static_cast<std::size_t>(facts.st_size);
}

ZOQ_BODY mapped_file& mapped_file::operator=(mapped_file&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

ZOQ_BODY void mapped_file::will_need() const { advise(MADV_WILLNEED); }

ZOQ_BODY void mapped_file::drop_pages() const { advise(MADV_DONTNEED); }

ZOQ_BODY void mapped_file::advise(int what) const {
  if (data_ != nullptr) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): madvise changes no byte
    ::madvise(const_cast<std::byte*>(data_), size_, what);
  }
}

ZOQ_BODY void mapped_file::unmap() noexcept {
  if (data_ != nullptr) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): the mapping itself is ours
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

}  // namespace zoq

#endif
