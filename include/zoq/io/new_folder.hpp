// A folder that appears whole or not at all.
//
//     zoq::new_folder folder("tuned");                  // tuned.1234.part
//     zoq::write_file_atomically(folder.path() + "/config.json", text);
//     folder.commit();                                  // now it is "tuned"; without it, it is gone
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "zoq/core/config.hpp"

namespace zoq {

class new_folder {
 public:
  /// Throws, naming `to`, when something is there that is no empty folder, and when no folder can be
  /// made beside it.
  explicit new_folder(std::string to);
  new_folder(const new_folder&) = delete;
  new_folder& operator=(const new_folder&) = delete;
  ~new_folder();

  /// Where its files go before commit().
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Gives it its name. Throws, naming it, when that cannot be done; then there is none.
  void commit();

 private:
  std::string to_;
  std::string path_;  // empty once committed
};

}  // namespace zoq

#if ZOQ_BODIES

#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY new_folder::new_folder(std::string to) : to_(std::move(to)) {
  while (to_.size() > 1 && to_.back() == '/') {
    to_.pop_back();
  }
  std::error_code wrong;
  const auto there = std::filesystem::symlink_status(to_, wrong);
  require(!wrong || there.type() == std::filesystem::file_type::not_found, to_,
          ": cannot look at it: ", wrong.message());
  require(!std::filesystem::exists(there) ||
              (std::filesystem::is_directory(to_, wrong) && std::filesystem::is_empty(to_, wrong)),
          to_, ": is there already, wanted a new folder or an empty one");
  std::random_device source;
  for (int attempt = 0; attempt < 100 && path_.empty(); ++attempt) {
    const std::string name = text(to_, ".", source(), ".part");
    if (std::filesystem::create_directory(name, wrong)) {
      path_ = name;
    }
  }
  require(!path_.empty(), to_, ": cannot create: ", wrong.message());
}

ZOQ_BODY new_folder::~new_folder() {
  if (!path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
}

ZOQ_BODY void new_folder::commit() {
  std::error_code wrong;
  std::filesystem::rename(path_, to_, wrong);
  require(!wrong, to_, ": cannot rename a temporary folder to it: ", wrong.message());
  path_.clear();
}

}  // namespace zoq

#endif
