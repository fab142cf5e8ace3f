// SPDX-License-Identifier: Apache-2.0
#include "zoq/data/encode.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "io/tiny_vocabulary.hpp"
#include "zoq/io/gguf.hpp"

using zoq::choice_row;
using zoq::completion_row;
using zoq::encode_rows;
using zoq::example;
using zoq::text_row;
using zoq::token_t;
using zoq::tokenizer;
using zoq::test::message_of;
using zoq::test::temporary_folder;
using zoq::test::tiny_vocabulary;

namespace {

using tokens = std::vector<token_t>;

// A byte is the token of its number; "it" is 256, the control token 257.
tokenizer words(bool adds_bos = false, std::string_view missing = "") {
  tiny_vocabulary v(missing);
  v.merge("i", "t");
  v.special("<|s|>", 3);
  v.more.set("tokenizer.ggml.bos_token_id", std::uint32_t{257});
  v.more.set("tokenizer.ggml.add_bos_token", adds_bos);
  const temporary_folder folder;
  v.write(folder / "v.gguf");
  return tokenizer(zoq::open_gguf(folder / "v.gguf"));
}

bool same(const example& a, const tokens& prompt, const std::vector<tokens>& continuations,
          zoq::index_t answer) {
  return a.prompt == prompt && a.continuations == continuations && a.answer == answer;
}

}  // namespace

TEST_CASE("encode_rows: choices after a prompt, each encoded apart") {
  const auto rows = encode_rows(words(), {choice_row{"i", {"t", "itx"}, 1}});
  REQUIRE(rows.size() == 1);
  // "i" and "t" stay apart: a choice has the same tokens after every prompt.
  CHECK(same(rows[0], {'i'}, {{'t'}, {256, 'x'}}, 1));
}

TEST_CASE("encode_rows: a completion is the one continuation") {
  const auto rows = encode_rows(words(), {completion_row{"ab", "it"}, completion_row{"c", "d"}});
  REQUIRE(rows.size() == 2);
  CHECK(same(rows[0], {'a', 'b'}, {{256}}, 0));
  CHECK(same(rows[1], {'c'}, {{'d'}}, 0));
}

TEST_CASE("encode_rows: of a preference the chosen text comes first, and is the answer") {
  const auto rows = encode_rows(words(), {zoq::preference_row{"ab", "it", "d"}});
  CHECK(rows[0].prompt == encode_rows(words(), {completion_row{"ab", "it"}})[0].prompt);
  REQUIRE(rows[0].continuations.size() == 2);
  CHECK(rows[0].continuations[0] ==
        encode_rows(words(), {completion_row{"ab", "it"}})[0].continuations[0]);
  CHECK(rows[0].continuations[1] ==
        encode_rows(words(), {completion_row{"ab", "d"}})[0].continuations[0]);
  CHECK(rows[0].answer == 0);
  CHECK(rows[0].reference.empty());
}

TEST_CASE("encode_rows: running text is its first token and the rest") {
  const auto rows = encode_rows(words(), {text_row{"abit"}});
  REQUIRE(rows.size() == 1);
  CHECK(same(rows[0], {'a'}, {{'b', 256}}, 0));
}

TEST_CASE("encode_rows: the token that begins a sequence stands before prompts, and no choice") {
  const tokenizer t = words(true);
  const auto rows =
      encode_rows(t, {choice_row{"a", {"b", "c"}, 0}, completion_row{"a", "b"}, text_row{"a"}});
  REQUIRE(rows.size() == 3);
  CHECK(same(rows[0], {257, 'a'}, {{'b'}, {'c'}}, 0));
  CHECK(same(rows[1], {257, 'a'}, {{'b'}}, 0));
  CHECK(same(rows[2], {257}, {{'a'}}, 0));  // so even one token of text is enough
}

TEST_CASE("encode_rows: control tokens are text, unless they are to be parsed") {
  const zoq::text_rows rows = {completion_row{"<|s|>a", "b"}};
  CHECK(encode_rows(words(), rows)[0].prompt.size() == 6);
  CHECK(encode_rows(words(), rows, zoq::special::parsed)[0].prompt == tokens{257, 'a'});
}

TEST_CASE("encode_rows: texts without tokens are refused, with the row") {
  const tokenizer t = words(false, "z");
  const auto error_of = [&](const zoq::any_row& row) {
    return message_of([&] { encode_rows(t, {completion_row{"a", "b"}, row}); });
  };
  CHECK(error_of(choice_row{"z", {"a", "b"}, 0}) == "row 2: the prompt has no tokens");
  CHECK(error_of(choice_row{"a", {"b", "z"}, 0}) == "row 2: the choice has no tokens");
  CHECK(error_of(completion_row{"a", "zz"}) == "row 2: the completion has no tokens");
  CHECK(error_of(text_row{"z"}) == "row 2: the text has no tokens");
  CHECK(error_of(text_row{"a"}) == "row 2: the text has only one token");
}

TEST_CASE("hash_of: names rows by their tokens and answers") {
  const std::vector<example> rows = {{{1, 2}, {{3}, {4, 5}}, 1}, {{6}, {{7}, {8}}, 0}};
  const std::string before = zoq::hash_of(rows);
  CHECK(zoq::hash_of(rows) == before);
  std::set<std::string> seen = {before, zoq::hash_of({})};
  const auto note = [&](auto change) {
    std::vector<example> other = rows;
    change(other);
    seen.insert(zoq::hash_of(other));
  };
  note([](auto& r) { r[0].answer = 0; });
  note([](auto& r) { r[0].prompt[1] = 9; });
  note([](auto& r) { r[0].continuations[1][1] = 9; });
  note([](auto& r) { std::swap(r[0], r[1]); });
  note([](auto& r) { r.pop_back(); });
  note([](auto& r) {  // a token goes from the prompt to a continuation
    r[0].prompt.pop_back();
    r[0].continuations[0] = {2, 3};
  });
  note([](auto& r) {  // or from one continuation to the other
    r[0].continuations = {{3, 4}, {5}};
  });
  note([](auto& r) { std::swap(r[0].continuations[0], r[0].continuations[1]); });
  CHECK(seen.size() == 10);
}

TEST_CASE("hash_of: an answer is no continuation, and rows are framed") {
  // The answer 5 has the bytes of the tokens {5, 0}: two rows must not look like one.
  const std::vector<example> two = {{{1}, {{2}}, 5}, {{3}, {{4}}, 7}};
  const std::vector<example> one = {{{1}, {{2}, {5, 0}, {3}, {4}}, 7}};
  CHECK(zoq::hash_of(two) != zoq::hash_of(one));
}
