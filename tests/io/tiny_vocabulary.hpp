// A byte-level vocabulary small enough to check by hand, as a GGUF file.
//
//     zoq::test::tiny_vocabulary v;
//     v.merge("h", "e");
//     v.special("<|im_start|>", 3);
//     v.write(path);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/byte_alphabet.hpp"
#include "zoq/io/gguf_writer.hpp"

namespace zoq::test {

struct tiny_vocabulary {
  std::string model = "gpt2";
  std::string pre = "smollm";
  std::vector<std::string> tokens;  // [V], in the byte alphabet
  std::vector<std::int32_t> types;  // [V]: 1 normal, 2 unknown, 3 control, 4 user-defined
  std::vector<std::string> merges;
  gguf_writer more;  // further metadata, e.g. bos_token_id

  /// The ids 0 to 255 are the bytes, but for those in `missing`, which get a token that no text
  /// has.
  explicit tiny_vocabulary(std::string_view missing = "") {
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_missing = missing.find(static_cast<char>(byte)) != std::string_view::npos;
      add(is_missing ? "missing" + std::to_string(byte)
                     : byte_letter(static_cast<unsigned char>(byte)),
          1);
    }
  }

  static std::string letters(std::string_view bytes) {
    std::string out;
    for (const char byte : bytes) {
      out += byte_letter(static_cast<unsigned char>(byte));
    }
    return out;
  }

  /// Adds a merge of two runs of bytes and the token that it makes; returns the token's id.
  token_t merge(std::string_view left, std::string_view right) {
    merges.push_back(letters(left) + " " + letters(right));
    return add(letters(left) + letters(right), 1);
  }
  token_t special(const std::string& text, std::int32_t type) { return add(text, type); }
  token_t add(const std::string& text, std::int32_t type) {
    tokens.push_back(text);
    types.push_back(type);
    return static_cast<token_t>(tokens.size() - 1);
  }

  void write(const std::string& path) const { writer().write(path); }

  /// The metadata, with what `more` holds.
  [[nodiscard]] gguf_writer writer() const {
    gguf_writer out = more;
    out.set("tokenizer.ggml.model", model);
    if (!pre.empty()) {
      out.set("tokenizer.ggml.pre", pre);
    }
    out.set("tokenizer.ggml.tokens", tokens);
    out.set("tokenizer.ggml.token_type", types);
    out.set("tokenizer.ggml.merges", merges);
    return out;
  }
};

}  // namespace zoq::test
