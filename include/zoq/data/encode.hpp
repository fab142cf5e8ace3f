// From rows of text to rows of tokens.
//
//     std::vector<zoq::example> rows = zoq::encode_rows(tokenizer, zoq::read_rows("train.jsonl"));
//
// A prompt and what may follow it are encoded apart, so a choice has the same tokens after every
// prompt; put the space between them at the start of the choice. Plain text is its first token as
// the prompt, and the rest.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/data/example.hpp"
#include "zoq/io/jsonl.hpp"
#include "zoq/io/tokenizer.hpp"

namespace zoq {

/// Throws, naming the row, when a text has no tokens, or running text only one.
std::vector<example> encode_rows(const tokenizer& words, const text_rows& rows,
                                 special mode = special::plain);

/// Names rows by their tokens and answers.
std::string hash_of(const std::vector<example>& rows);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstdint>
#include <span>
#include <utility>
#include <variant>

#include "zoq/core/error.hpp"
#include "zoq/core/hash.hpp"

namespace zoq {

ZOQ_BODY std::vector<example> encode_rows(const tokenizer& words, const text_rows& rows,
                                          special mode) {
  std::vector<example> out;
  const auto encode = [&](const std::string& text, const char* what) {
    std::vector<token_t> tokens = words.encode(text, mode);
    require(!tokens.empty(), "row ", out.size() + 1, ": the ", what, " has no tokens");
    return tokens;
  };
  const auto prompt_of = [&](const std::string& text, const char* what) {
    std::vector<token_t> tokens = encode(text, what);
    if (words.adds_bos()) {
      tokens.insert(tokens.begin(), words.bos());
    }
    return tokens;
  };
  for (const any_row& row : rows) {
    example e;
    if (const auto* choice = std::get_if<choice_row>(&row)) {
      e.prompt = prompt_of(choice->prompt, "prompt");
      for (const std::string& text : choice->choices) {
        e.continuations.push_back(encode(text, "choice"));
      }
      e.answer = choice->answer;
    } else if (const auto* completion = std::get_if<completion_row>(&row)) {
      e.prompt = prompt_of(completion->prompt, "prompt");
      e.continuations.push_back(encode(completion->completion, "completion"));
    } else if (const auto* pair = std::get_if<preference_row>(&row)) {
      e.prompt = prompt_of(pair->prompt, "prompt");
      e.continuations.push_back(encode(pair->chosen, "chosen text"));
      e.continuations.push_back(encode(pair->rejected, "rejected text"));
    } else {
      std::vector<token_t> tokens = prompt_of(std::get<text_row>(row).text, "text");
      require(tokens.size() >= 2, "row ", out.size() + 1, ": the text has only one token");
      e.prompt.assign(tokens.begin(), tokens.begin() + 1);
      e.continuations.emplace_back(tokens.begin() + 1, tokens.end());
    }
    out.push_back(std::move(e));
  }
  return out;
}

ZOQ_BODY std::string hash_of(const std::vector<example>& rows) {
  content_hash h;
  const auto add = [&](const std::vector<token_t>& tokens) {
    h.add(std::as_bytes(std::span<const token_t>(tokens)));
  };
  for (const example& e : rows) {
    add(e.prompt);
    h.add(static_cast<std::uint64_t>(e.continuations.size()));
    for (const auto& c : e.continuations) {
      add(c);
    }
    h.add(static_cast<std::uint64_t>(e.answer));
  }
  return h.hex();
}

}  // namespace zoq

#endif
