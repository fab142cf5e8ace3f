// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/tokenizer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "temporary_folder.hpp"
#include "tiny_vocabulary.hpp"
#include "zoq/io/gguf.hpp"

using zoq::model_file;
using zoq::open_gguf;
using zoq::special;
using zoq::token_t;
using zoq::tokenizer;
using zoq::test::is_one_line;
using zoq::test::message_of;
using zoq::test::temporary_folder;
using zoq::test::tiny_vocabulary;
using ids = std::vector<token_t>;

namespace {

tokenizer made_of(const tiny_vocabulary& v) {
  const temporary_folder folder;
  v.write(folder / "v.gguf");
  return tokenizer(open_gguf(folder / "v.gguf"));  // which keeps nothing of the file
}

std::string error_of(const tiny_vocabulary& v) {
  const temporary_folder folder;
  v.write(folder / "v.gguf");
  const std::string message = message_of([&] { tokenizer(open_gguf(folder / "v.gguf")); });
  CHECK(is_one_line(message));
  const std::string prefix = folder / "v.gguf" + ": ";
  CHECK(message.rfind(prefix, 0) == 0);
  return message.substr(std::min(message.size(), prefix.size()));
}

}  // namespace

TEST_CASE("tokenizer: without merges every byte is its own token") {
  const tokenizer tokens = made_of(tiny_vocabulary());
  CHECK(tokens.size() == 256);
  CHECK(tokens.encode("").empty());
  CHECK(tokens.encode("a \xff") == ids{'a', ' ', 0xff});
  CHECK(tokens.piece(0xff) == "\xff");
  CHECK(tokens.bos() == -1);
  CHECK(tokens.eos() == -1);
  CHECK_FALSE(tokens.adds_bos());
  CHECK(message_of([&] { return tokens.piece(256); }) ==
        "tokenizer: id 256 is outside the vocabulary of 256");
  CHECK(message_of([&] {
          return tokens.decode(ids{1, -1});
        }) == "tokenizer: id -1 is outside the vocabulary of 256");
}

TEST_CASE("tokenizer: the merge that stands first in the list goes first, then the leftmost") {
  tiny_vocabulary v;
  const token_t bc = v.merge("b", "c");
  const token_t ab = v.merge("a", "b");
  const token_t aa = v.merge("a", "a");
  const token_t space_a = v.merge(" ", "a");
  const token_t aab = v.merge("aa", "b");
  const tokenizer tokens = made_of(v);
  CHECK(tokens.encode("abc") == ids{'a', bc});
  CHECK(tokens.encode("ab") == ids{ab});
  CHECK(tokens.encode("aaa") == ids{aa, 'a'});
  CHECK(tokens.encode("aab") == ids{'a', ab});
  CHECK(tokens.encode("aaab") == ids{aa, ab});
  CHECK(tokens.encode("a a") == ids{'a', space_a});  // no merge crosses words
  CHECK(tokens.encode("a1a") == ids{'a', '1', 'a'});
  CHECK(tokens.decode(ids{aab, bc}) == "aabbc");
}

TEST_CASE("tokenizer: the queue gives what joining pair after pair by definition gives") {
  tiny_vocabulary v;
  std::mt19937 random(7);
  std::vector<std::string> known = {"a", "b", "c", "d"};
  std::vector<std::pair<std::string, std::string>> merges;
  while (merges.size() < 60) {
    const std::string left = known[random() % known.size()];
    const std::string right = known[random() % known.size()];
    if (std::find(known.begin(), known.end(), left + right) == known.end()) {
      v.merge(left, right);
      known.push_back(left + right);
      merges.emplace_back(left, right);
    }
  }
  const tokenizer tokens = made_of(v);
  for (int round = 0; round < 500; ++round) {
    std::string word;
    for (std::size_t i = random() % 40; i > 0; --i) {
      word += "abcd"[random() % 4];
    }
    std::vector<std::string> parts;
    for (const char c : word) {
      parts.emplace_back(1, c);
    }
    for (;;) {
      std::size_t best = merges.size();
      std::size_t place = 0;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto at = std::find(merges.begin(), merges.end(), std::pair(parts[i], parts[i + 1]));
        if (static_cast<std::size_t>(at - merges.begin()) < best) {
          best = static_cast<std::size_t>(at - merges.begin());
          place = i;
        }
      }
      if (best == merges.size()) {
        break;
      }
      parts[place] += parts[place + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
    const ids found = tokens.encode(word);
    REQUIRE(found.size() == parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      REQUIRE(tokens.piece(found[i]) == parts[i]);
    }
  }
}

TEST_CASE("tokenizer: any bytes come back, valid UTF-8 or not, in both modes") {
  tiny_vocabulary v;
  v.merge("e", " ");
  v.merge("\xc3", "\xa9");
  v.merge("\xff", "\xff");
  v.merge("\x80", "\n");
  v.special("<|im_start|>", 3);
  v.special("<tool>", 4);
  const tokenizer tokens = made_of(v);
  std::string pair(2, '\0');
  int wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    pair[0] = static_cast<char>(i >> 8);
    pair[1] = static_cast<char>(i);
    wrong += tokens.decode(tokens.encode(pair)) == pair ? 0 : 1;
  }
  CHECK(wrong == 0);
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 50; ++i) {
      text += random() % 16 == 0 ? "<|im_start|>" : std::string(1, static_cast<char>(random()));
    }
    REQUIRE(tokens.spells(text));
    REQUIRE((tokens.decode(tokens.encode(text)) == text));
    REQUIRE((tokens.decode(tokens.encode(text, special::parsed)) == text));
  }
}

TEST_CASE(
    "tokenizer: control tokens are plain text unless asked for, user-defined ones never are") {
  tiny_vocabulary v;
  const token_t start = v.special("<|im_start|>", 3);
  const token_t unknown = v.special("<unk>", 2);
  const token_t tool = v.special("<tool>", 4);
  const token_t twice = v.special("<tool><tool>", 4);
  const tokenizer tokens = made_of(v);
  CHECK(tokens.encode("<|im_start|>").size() == 12);
  CHECK(tokens.encode("<|im_start|>", special::parsed) == ids{start});
  CHECK(tokens.encode("<unk>").size() == 5);
  CHECK(tokens.encode("<unk>a", special::parsed) == ids{unknown, 'a'});
  CHECK(tokens.encode("a<tool>b") == ids{'a', tool, 'b'});
  CHECK(tokens.encode("<tool><tool><tool>") == ids{twice, tool});  // the longest first
  CHECK(tokens.encode("<|im_start|><tool>", special::parsed) == ids{start, tool});
  CHECK(tokens.decode(ids{start, 'x', tool}) == "<|im_start|>x<tool>");
}

TEST_CASE(
    "tokenizer: of many special tokens those that occur are found, in time that grows as the text "
    "does") {
  tiny_vocabulary v;
  std::vector<std::string> specials;
  for (std::size_t n = 2; n <= 2000; ++n) {  // each the beginning of the next
    specials.push_back(std::string(n, 'a'));
  }
  for (int n = 0; n < 14000; ++n) {
    specials.push_back("b" + std::to_string(n) + "c");
  }
  std::vector<token_t> id;
  for (const std::string& s : specials) {
    id.push_back(v.special(s, 4));
  }
  const tokenizer tokens = made_of(v);
  CHECK(tokens.encode(std::string(20001, 'a')) == [&] {
    ids wanted(10, id[1998]);
    wanted.push_back('a');
    return wanted;
  }());
  CHECK(tokens.encode("xaaab17cb1cb170") ==
        ids{'x', id[1], id[1999 + 17], id[1999 + 1], 'b', '1', '7', '0'});
}

TEST_CASE("tokenizer: encode_sequence adds what the file asks for") {
  tiny_vocabulary v;
  const token_t bos = v.special("<s>", 3);
  const token_t eos = v.special("</s>", 3);
  v.more.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(bos));
  v.more.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(eos));
  SUBCASE("nothing by default") {
    const tokenizer tokens = made_of(v);
    CHECK(tokens.bos() == bos);
    CHECK(tokens.eos() == eos);
    CHECK(tokens.encode_sequence("a") == ids{'a'});
  }
  SUBCASE("a beginning by default for llama-bpe") {
    v.pre = "llama-bpe";
    CHECK(made_of(v).encode_sequence("a") == ids{bos, 'a'});
    CHECK(made_of(v).encode("a") == ids{'a'});
  }
  SUBCASE("unless the file says no") {
    v.pre = "llama-bpe";
    v.more.set("tokenizer.ggml.add_bos_token", false);
    CHECK(made_of(v).encode_sequence("a") == ids{'a'});
  }
  SUBCASE("both ends, also of the empty text") {
    v.more.set("tokenizer.ggml.add_bos_token", true);
    v.more.set("tokenizer.ggml.add_eos_token", true);
    CHECK(made_of(v).encode_sequence("") == ids{bos, eos});
  }
}

TEST_CASE("tokenizer: a byte without a token is left out, and its neighbours stay apart") {
  tiny_vocabulary v("\x04\xff");
  const token_t ab = v.merge("a", "b");
  const tokenizer tokens = made_of(v);
  CHECK(tokens.spells("ab"));
  CHECK_FALSE(tokens.spells("a\x04"));
  CHECK_FALSE(tokens.spells("\xff"));
  CHECK(tokens.encode("a\x04"
                      "b") == ids{'a', 'b'});
  CHECK(tokens.encode("\xff"
                      "ab\x04") == ids{ab});
  CHECK(tokens.encode("\x04").empty());
}

TEST_CASE("tokenizer: llama-bpe takes a word that is a token whole, whatever the merges say") {
  tiny_vocabulary v;
  const token_t ab = v.merge("a", "b");
  const token_t abc = v.add(tiny_vocabulary::letters(" abc"), 1);  // no merge leads there
  CHECK(made_of(v).encode(" abc") == ids{' ', ab, 'c'});
  v.pre = "llama-bpe";
  v.more.set("tokenizer.ggml.add_bos_token", false);
  CHECK(made_of(v).encode("x abc") == ids{'x', abc});
}

TEST_CASE("tokenizer: a file without tokenizer.ggml.pre is cut in the default manner") {
  tiny_vocabulary v;
  const token_t a_mark = v.merge("!", "!");
  v.pre = "";
  CHECK(made_of(v).encode("a!!") == ids{'a', a_mark});
}

TEST_CASE("tokenizer: a megabyte of one letter or of spaces") {
  tiny_vocabulary v;
  const token_t two = v.merge(" ", " ");
  const token_t four = v.merge("  ", "  ");
  v.merge("a", "a");
  const tokenizer tokens = made_of(v);
  constexpr std::size_t n = 1 << 20;
  CHECK(tokens.encode(std::string(n, ' ')) == ids(n / 4, four));
  const ids before_a_word = tokens.encode(std::string(n, ' ') + "x");
  CHECK(before_a_word.size() == n / 4 - 1 + 2 + 2);  // n - 1 spaces: fours, a two, a one; " ", "x"
  CHECK(before_a_word[n / 4 - 1] == two);
  CHECK(tokens.encode(std::string(n, 'a')).size() == n / 2);
}

TEST_CASE("tokenizer: what does not fit is an error that names file and key") {
  tiny_vocabulary v;
  SUBCASE("another model") {
    v.model = "llama";
    CHECK(error_of(v) ==
          "metadata tokenizer.ggml.model is \"llama\", zoq reads byte-level BPE, \"gpt2\"");
  }
  SUBCASE("unknown pre-tokenizer") {
    v.pre = "klin\ngon";
    CHECK(error_of(v) == "metadata tokenizer.ggml.pre: pre-tokenizer \"klin?gon\" is not known");
  }
  SUBCASE("no tokens") {
    v.tokens.clear();
    CHECK(error_of(v) == "metadata tokenizer.ggml.tokens has 0 tokens");
  }
  SUBCASE("a token twice") {
    v.add("a", 1);
    CHECK(error_of(v) == "token \"a\" comes twice");
  }
  SUBCASE("more tokens, merges or special tokens than any vocabulary has") {
    v.tokens.resize((1 << 20) + 1);
    CHECK(error_of(v) ==
          "metadata tokenizer.ggml.tokens has 1048577 entries, zoq reads up to 1048576");
    v.tokens.resize(256);
    v.merges.resize((1 << 20) + 1);
    CHECK(error_of(v) ==
          "metadata tokenizer.ggml.merges has 1048577 entries, zoq reads up to 1048576");
    v.merges.clear();
    for (int i = 0; i <= 1 << 14; ++i) {
      v.special("<" + std::to_string(i) + ">", i % 2 == 0 ? 3 : 4);
    }
    CHECK(error_of(v) == "16385 special tokens, zoq reads up to 16384");
  }
  SUBCASE("a type for each token") {
    v.types.pop_back();
    CHECK(error_of(v) == "metadata tokenizer.ggml.token_type has 255 entries for 256 tokens");
  }
  SUBCASE("a merge of one part") {
    v.merges.emplace_back("ab");
    CHECK(error_of(v) == "merge 0 \"ab\" has no space between its parts");
  }
  SUBCASE("a merge without its token") {
    v.merges.emplace_back("a b");
    CHECK(error_of(v) == "merge 0 \"a b\" makes a token that the vocabulary has not");
  }
  SUBCASE("an id outside") {
    v.more.set("tokenizer.ggml.eos_token_id", std::uint32_t{256});
    CHECK(error_of(v) ==
          "metadata tokenizer.ggml.eos_token_id is 256, outside the vocabulary of 256");
  }
  SUBCASE("a beginning without an id") {
    v.more.set("tokenizer.ggml.add_bos_token", true);
    CHECK(error_of(v) ==
          "metadata tokenizer.ggml.add_bos_token is true, and no id is given for it");
  }
  SUBCASE("llama-bpe without an id") {
    v.pre = "llama-bpe";
    CHECK(error_of(v) ==
          "metadata tokenizer.ggml.add_bos_token is true, and no id is given for it");
  }
}

TEST_CASE("tokenizer: a file without a vocabulary") {
  const temporary_folder folder;
  zoq::gguf_writer out;
  out.set("tokenizer.ggml.model", "gpt2");
  out.write(folder / "v.gguf");
  CHECK(message_of([&] { tokenizer(open_gguf(folder / "v.gguf")); }) ==
        folder / "v.gguf" + ": metadata tokenizer.ggml.tokens is missing");
}
