// A Hugging Face folder in memory with the weights of a tiny Llama of 300 tokens: what fuzz targets put
// their own files into.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "fuzz/input.hpp"
#include "model/tiny_hf.hpp"
#include "zoq/io/hf_folder.hpp"

namespace zoq::fuzz {

/// Its weights: one layer of 8 columns.
inline test::tiny_hf small_hf() {
  llama_config c = test::tiny_config();
  c.layers = 1;
  c.hidden = 8;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_size = 4;
  c.feed_forward = 8;
  c.vocabulary = 300;
  return test::tiny_hf(test::tiny_llama({.config = c, .format = "f16"}));
}

class hf_input {
 public:
  hf_input() { small_hf().write(path()); }

  [[nodiscard]] std::string path() const { return folder_ / "hf"; }
  void put(const char* name, std::string_view bytes) const {
    std::ofstream(path() + "/" + name, std::ios::binary) << bytes;
  }
  void remove(const char* name) const { std::filesystem::remove(path() + "/" + name); }

 private:
  test::temporary_folder folder_;
};

}  // namespace zoq::fuzz
