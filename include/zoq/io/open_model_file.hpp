// A model's file of any kind, by its path.
//
//     zoq::model_file file = zoq::open_model_file("model.gguf");         // a GGUF file,
//     zoq::model_file more = zoq::open_model_file("SmolLM2-135M");       // a Hugging Face folder,
//     zoq::model_file lut4 = zoq::open_model_file("lut4.safetensors");   // or io/model_container.hpp's
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "zoq/core/config.hpp"
#include "zoq/io/model_file.hpp"

namespace zoq {

/// A folder is taken for Hugging Face's, a file by its first bytes: those of a safetensors file are the
/// length of its header and a brace; any other is taken for GGUF. Throws as the three readers do.
model_file open_model_file(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "zoq/io/gguf.hpp"
#include "zoq/io/hf_folder.hpp"
#include "zoq/io/mapped_file.hpp"
#include "zoq/io/model_container.hpp"

namespace zoq {

ZOQ_BODY model_file open_model_file(const std::string& path) {
  std::error_code missing;
  if (std::filesystem::is_directory(path, missing)) {
    return open_hf_folder(path);
  }
  const mapped_file file(path);
  const bool has_brace = file.bytes().size() > 8 && file.bytes()[8] == std::byte{'{'} &&
                         std::memcmp(file.bytes().data(), "GGUF", 4) != 0;
  return has_brace ? open_model_container(path) : open_gguf(path);
}

}  // namespace zoq

#endif
