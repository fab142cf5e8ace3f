// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/hf_tokenizer.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "io/tiny_vocabulary.hpp"
#include "model/tiny_hf.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/tokenizer.hpp"

using zoq::special;
using zoq::token_t;
using zoq::tokenizer;
using namespace zoq::test;
using nlohmann::json;
using ids = std::vector<token_t>;

namespace {

const json none = json::object();

zoq::gguf_writer read(const json& words, const json& config = none, const json& more = none,
                      std::uint32_t vocabulary = 400) {
  const auto as_read = [](const json& made) { return json::parse(made.dump()); };
  zoq::gguf_writer out;
  zoq::set_hf_tokenizer(as_read(words), "tokenizer.json", as_read(config), "config.json",
                        as_read(more), "tokenizer_config.json", vocabulary, out);
  return out;
}

tokenizer tokenizer_of(const json& words, const json& config = none, const json& more = none) {
  const temporary_folder folder;
  read(words, config, more).write(folder / "v.gguf");
  return tokenizer(zoq::open_gguf(folder / "v.gguf"));
}

std::string refusal(const json& words, const json& config = none, const json& more = none,
                    std::uint32_t vocabulary = 400) {
  const std::string said = message_of([&] { read(words, config, more, vocabulary); });
  CHECK(is_one_line(said));
  return said;
}

// Merges of letters and digits, made at random, and tokens of both kinds beside.
tiny_vocabulary some_words() {
  tiny_vocabulary v;
  std::mt19937 random(11);
  std::vector<std::string> known = {"a", "b", "1", " ", "\n", "'", "s"};
  while (v.merges.size() < 80) {
    const std::string left = known[random() % known.size()], right = known[random() % known.size()];
    if (std::find(known.begin(), known.end(), left + right) == known.end()) {
      v.merge(left, right);
      known.push_back(left + right);
    }
  }
  v.special("<|im_start|>", 3);
  v.special("<|im_end|>", 3);
  v.special("<tool>", 4);
  return v;
}

// A post_processor that puts these tokens before and behind.
json around(const std::vector<std::string>& before, const std::vector<std::string>& behind,
            const tiny_vocabulary& v) {
  json out = {{"type", "TemplateProcessing"},
              {"single", json::array()},
              {"special_tokens", json::object()}};
  const auto add = [&](const std::string& token) {
    out["single"].push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    const auto id = std::find(v.tokens.begin(), v.tokens.end(), token) - v.tokens.begin();
    out["special_tokens"][token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  for (const std::string& token : before) {
    add(token);
  }
  out["single"].push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const std::string& token : behind) {
    add(token);
  }
  return out;
}

}  // namespace

TEST_CASE("hf_tokenizer: every kind gives the ids of the GGUF vocabulary") {
  for (const std::string pre : {"gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2"}) {
    CAPTURE(pre);
    tiny_vocabulary v = some_words();
    v.pre = pre;
    v.more.set("tokenizer.ggml.bos_token_id", std::uint32_t{336});
    v.more.set("tokenizer.ggml.add_bos_token", false);
    const temporary_folder folder;
    v.write(folder / "v.gguf");
    const tokenizer wanted(zoq::open_gguf(folder / "v.gguf"));
    const tokenizer found = tokenizer_of(tokenizer_json(v, pre), {{"bos_token_id", 336}});
    REQUIRE(found.size() == wanted.size());
    CHECK(found.bos() == 336);
    for (token_t id = 0; id < wanted.size(); ++id) {
      REQUIRE(found.piece(id) == wanted.piece(id));
    }
    std::mt19937 random(5);
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (int i = 0; i < 40; ++i) {
        text += random() % 20 == 0 ? (random() % 2 == 0 ? "<|im_start|>" : "<tool>")
                                   : std::string(1, "ab12 's\nS.,"[random() % 11]);
      }
      REQUIRE(found.encode_sequence(text) == wanted.encode_sequence(text));
      REQUIRE(found.encode(text, special::parsed) == wanted.encode(text, special::parsed));
    }
  }
}

TEST_CASE("hf_tokenizer: what stands around a text is what the template says") {
  const tiny_vocabulary v = some_words();
  json words = tokenizer_json(v, "smollm");
  CHECK(tokenizer_of(words).encode_sequence("2") == ids{'2'});
  words["post_processor"] = around({"<|im_start|>"}, {}, v);
  CHECK(tokenizer_of(words).encode_sequence("2") == ids{336, '2'});
  words["post_processor"] = {
      {"type", "Sequence"},
      {"processors", {{{"type", "ByteLevel"}}, around({"<|im_start|>"}, {"<|im_end|>"}, v)}}};
  CHECK(tokenizer_of(words).encode_sequence("2") == ids{336, '2', 337});
  CHECK(tokenizer_of(words).eos() == 337);
  words["post_processor"] = around({}, {"<|im_end|>"}, v);
  CHECK(tokenizer_of(words).encode_sequence("2") == ids{'2', 337});

  // Another begin token than the configuration's: which one is meant?
  words["post_processor"] = around({"<|im_start|>"}, {}, v);
  CHECK(refusal(words, {{"bos_token_id", 5}}) ==
        "tokenizer.json: \"post_processor\" begins with token 336, the begin token is 5");
  words["post_processor"] = around({"<|im_start|>", "<|im_end|>"}, {}, v);
  CHECK(refusal(words).find("two special tokens at one end") != std::string::npos);
  words["post_processor"] = {{"type", "BertProcessing"}};
  CHECK(refusal(words).find("\"BertProcessing\"") != std::string::npos);
}

TEST_CASE("hf_tokenizer: special ids come from names, else from numbers") {
  const json words = tokenizer_json(some_words(), "smollm");
  const json config = {{"bos_token_id", nullptr}, {"eos_token_id", {7, 8}}};
  CHECK(tokenizer_of(words, config).bos() == -1);
  CHECK(tokenizer_of(words, config).eos() == 7);
  const json named = {{"bos_token", {{"content", "<|im_start|>"}, {"special", true}}},
                      {"eos_token", "<|im_end|>"}};
  CHECK(tokenizer_of(words, config, named).bos() == 336);
  CHECK(tokenizer_of(words, config, named).eos() == 337);
  CHECK(refusal(words, {{"eos_token_id", 339}}) ==
        "config.json: \"eos_token_id\" is no id of tokenizer.json");
  CHECK(refusal(words, none, {{"eos_token", "</s>"}}) ==
        "tokenizer_config.json: \"eos_token\" is \"</s>\", no token of tokenizer.json");
}

TEST_CASE("hf_tokenizer: ids without a token are filled") {
  tiny_vocabulary v;
  json words = tokenizer_json(v, "smollm");
  words["added_tokens"].push_back({{"id", 258}, {"content", "<x>"}, {"special", true}});
  const tokenizer tokens = tokenizer_of(words);
  CHECK(tokens.size() == 259);
  CHECK(tokens.piece(256) == "[PAD256]");
  CHECK(tokens.encode("[PAD256]").size() == 8);
}

TEST_CASE("hf_tokenizer: what is not known is refused by name") {
  const json good = tokenizer_json(some_words(), "smollm");
  json words = good;
  SUBCASE("another model") {
    words["model"]["type"] = "Unigram";
    CHECK(refusal(words) ==
          "tokenizer.json: \"model\": \"type\" is \"Unigram\", only \"BPE\" is supported");
  }
  SUBCASE("SentencePiece's bytes") {
    words["model"]["byte_fallback"] = true;
    CHECK(refusal(words) ==
          "tokenizer.json: \"model\": \"byte_fallback\" is true, only false is supported");
  }
  SUBCASE("a normalizer") {
    words["normalizer"] = {{"type", "NFC"}};
    CHECK(refusal(words) ==
          "tokenizer.json: \"normalizer\" of type \"NFC\", only none is supported");
  }
  SUBCASE("dropout") {
    words["model"]["dropout"] = 0.1;
    CHECK(refusal(words).find("dropout") != std::string::npos);
  }
  SUBCASE("pre-tokenizers") {
    words["pre_tokenizer"] = nullptr;
    CHECK(refusal(words) ==
          "tokenizer.json: \"pre_tokenizer\" of no steps, wanted ByteLevel, alone "
          "or after Digits or Split");
    words["pre_tokenizer"] = {{"type", "Metaspace"}};
    CHECK(refusal(words).find("of Metaspace, wanted") != std::string::npos);
    words = tokenizer_json(some_words(), "qwen2");
    words["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]+";
    CHECK(refusal(words) ==
          "tokenizer.json: \"pre_tokenizer\" of Split, ByteLevel: the expression "
          "\"[a-z]+\" is not known");
    words = tokenizer_json(some_words(), "gpt-2");
    words["pre_tokenizer"]["add_prefix_space"] = true;
    CHECK(refusal(words).find("\"add_prefix_space\" is true, only false") != std::string::npos);
    words = tokenizer_json(some_words(), "smollm");
    words["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false;
    CHECK(refusal(words).find("\"individual_digits\" is false, only true") != std::string::npos);
    words = good;
    words["model"]["ignore_merges"] = true;
    CHECK(refusal(words).find("\"ignore_merges\" is not known for it") != std::string::npos);
  }
  SUBCASE("tokens") {
    words["model"]["vocab"]["aa"] = 400;
    CHECK(refusal(words).find("token \"aa\" has no id below \"vocab_size\", 400") !=
          std::string::npos);
    words["model"]["vocab"]["aa"] = 65;
    CHECK(refusal(words).find("have one id, 65") != std::string::npos);
    words = good;
    words["added_tokens"].push_back({{"id", 399}, {"content", "a"}});
    CHECK(refusal(words).find("token \"a\" has two ids") != std::string::npos);
    words = good;
    words["added_tokens"][0]["lstrip"] = true;
    CHECK(refusal(words).find("\"lstrip\" of <|im_start|> is not supported") != std::string::npos);
  }
  SUBCASE("merges") {
    words["model"]["merges"][3] = {"a", "b", "c"};
    CHECK(refusal(words) ==
          "tokenizer.json: \"model\": merge 3 is neither a string nor a pair of them");
    words["model"].erase("merges");
    CHECK(refusal(words) == "tokenizer.json: \"model\": key \"merges\" is missing");
  }
}
