// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/pre_tokenizer.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "temporary_folder.hpp"
#include "zoq/io/utf8.hpp"

using zoq::pre_tokenizer;
using words = std::vector<std::string>;

namespace {

words split(const pre_tokenizer& pre, std::string_view text) {
  words out;
  pre.split(text, [&](std::string_view word) { out.emplace_back(word); });
  return out;
}

}  // namespace

TEST_CASE("pre_tokenizer: gpt-2 keeps the space with the word that follows") {
  const pre_tokenizer pre("gpt-2");
  CHECK(split(pre, "").empty());
  CHECK(split(pre, "It was  great!! ") == words{"It", " was", " ", " great", "!!", " "});
  CHECK(split(pre, "I'll they've 'S") == words{"I", "'ll", " they", "'ve", " '", "S"});
  CHECK(split(pre, "a \n b\n\nc") == words{"a", " \n", " b", "\n", "\n", "c"});
  CHECK(split(pre, "x12345 67") == words{"x", "12345", " 67"});
  CHECK(split(pre, "na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87\xe2\x85\xa7") ==
        words{"na\xc3\xafve", " \xe4\xb8\xad\xe6\x96\x87", "\xe2\x85\xa7"});
}

TEST_CASE("pre_tokenizer: smollm takes each digit alone and looks no further than its piece") {
  const pre_tokenizer pre("smollm");
  CHECK(split(pre, "It was 10") == words{"It", " was", " ", "1", "0"});
  // The two spaces end their piece, so they stay together although something follows.
  CHECK(split(pre, "a  1  b") == words{"a", "  ", "1", " ", " b"});
}

TEST_CASE("pre_tokenizer: llama-bpe takes up to three digits and any case of contractions") {
  const pre_tokenizer pre("llama-bpe");
  CHECK(split(pre, "12345") == words{"123", "45"});
  CHECK(split(pre, "DON'T he'll") == words{"DON", "'T", " he", "'ll"});
  CHECK(split(pre, "(word) x!\r\n\r\n  y") == words{"(word", ")", " x", "!\r\n\r\n", " ", " y"});
  CHECK(split(pre, "a \n\n  b") == words{"a", " \n\n", " ", " b"});
  CHECK(pre.takes_whole_words());
  CHECK(pre.adds_bos());
  CHECK_FALSE(pre_tokenizer("smaug-bpe").takes_whole_words());
}

TEST_CASE("pre_tokenizer: qwen2 is llama-bpe with single digits") {
  const pre_tokenizer pre("qwen2");
  CHECK(split(pre, " 12 a") == words{" ", "1", "2", " a"});
  CHECK(split(pre, "(word) DON'T") == words{"(word", ")", " DON", "'T"});
  CHECK_FALSE(pre.adds_bos());
}

TEST_CASE("pre_tokenizer: default sets punctuation apart and cuts digits by threes") {
  const pre_tokenizer pre("default");
  CHECK(split(pre, "a (b) 12345 $7") ==
        words{"a", " ", "(", "b", ")", " ", "123", "45", " ", "$", "7"});
}

TEST_CASE("pre_tokenizer: classes of characters") {
  const pre_tokenizer pre("gpt-2");
  // U+180E is no white space: it goes with the punctuation.
  CHECK(split(pre, "a\xe1\xa0\x8e!") == words{"a", "\xe1\xa0\x8e!"});
  // White space beyond ASCII: U+0085, U+00A0, U+3000.
  CHECK(split(pre, "a\xc2\x85\xc2\xa0\xe3\x80\x80") == words{"a", "\xc2\x85\xc2\xa0\xe3\x80\x80"});
  // A letter (U+31350) and a digit (U+11F50) of Unicode 15.
  CHECK(split(pre, "a\xf0\xb1\x8d\x90") == words{"a\xf0\xb1\x8d\x90"});
  CHECK(split(pre, "1\xf0\x91\xbd\x90") == words{"1\xf0\x91\xbd\x90"});
  // Combining marks and format characters are neither.
  CHECK(split(pre, "e\xcc\x81!") == words{"e", "\xcc\x81!"});
}

TEST_CASE(
    "pre_tokenizer: the pieces are the text, byte for byte, and invalid bytes cut as U+FFFD") {
  const std::string_view parts[] = {"a",    "Z",        " ",    "\n",           "1",    "'",
                                    "'s",   "!",        "\t",   "\xff",         "\x80", "\xc3\xa9",
                                    "\xe2", "\xf0\x9f", "\xc0", "\xed\xa0\x80", "\xf5", "\x01",
                                    "$"};
  std::mt19937 random(1);
  for (const char* kind : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"}) {
    const pre_tokenizer pre(kind);
    for (int round = 0; round < 300; ++round) {
      std::string text;
      std::string replaced;
      for (int i = 0; i < 12; ++i) {
        text += parts[random() % std::size(parts)];
      }
      for (std::size_t at = 0; at < text.size();) {
        const int bytes = zoq::read_utf8(text, at).bytes;
        replaced += bytes == 0 ? "\xef\xbf\xbd" : text.substr(at, static_cast<std::size_t>(bytes));
        at += static_cast<std::size_t>(bytes == 0 ? 1 : bytes);
      }
      const words found = split(pre, text);
      std::string joined;
      for (const std::string& word : found) {
        REQUIRE_FALSE(word.empty());
        joined += word;
      }
      REQUIRE((joined == text));
      const words other = split(pre, replaced);
      REQUIRE(found.size() == other.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        const bool whole = zoq::first_invalid_utf8(found[i]) < 0;
        REQUIRE((whole ? found[i] == other[i] : other[i].size() > found[i].size()));
      }
    }
  }
}

TEST_CASE("pre_tokenizer: a million bytes of one class are one word, within time and stack") {
  constexpr std::size_t n = 1 << 20;
  for (const char* kind : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"}) {
    CAPTURE(kind);
    const pre_tokenizer pre(kind);
    CHECK(split(pre, std::string(n, 'a')).size() == 1);
    CHECK(split(pre, std::string(n, ' ')).size() == 1);
    CHECK(split(pre, std::string(n, '!')).size() == 1);
    const words spaces = split(pre, std::string(n, ' ') + "x");
    REQUIRE(spaces.size() == 2);
    CHECK(spaces[0].size() == n - 1);
    CHECK(spaces[1] == " x");
  }
}

TEST_CASE("pre_tokenizer: an unknown kind is an error that names it") {
  CHECK(zoq::test::message_of([] { pre_tokenizer("klingon"); }) ==
        "pre-tokenizer \"klingon\" is not known");
}
