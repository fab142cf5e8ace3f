// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/jsonl.hpp"

#include <doctest/doctest.h>

#include <string>
#include <variant>

#include "temporary_folder.hpp"

using zoq::read_rows;
using zoq::test::is_one_line;
using zoq::test::message_of;
using zoq::test::put;
using zoq::test::temporary_folder;

namespace {

const std::string good = R"({"prompt": "It was", "choices": [" bad", " good"], "answer": 1})";

// The message for a file of these bytes, without the folder.
std::string error_of(const std::string& bytes) {
  const temporary_folder folder;
  put(folder / "train.jsonl", bytes);
  const std::string message = message_of([&] { read_rows(folder / "train.jsonl"); });
  CHECK(is_one_line(message));
  const std::string prefix = folder.path() + "/";
  CHECK(message.rfind(prefix, 0) == 0);
  return message.substr(std::min(message.size(), prefix.size()));
}

std::string choice_error(const std::string& choices, const std::string& answer) {
  return error_of(R"({"prompt": "p", "choices": )" + choices + R"(, "answer": )" + answer + "}");
}

}  // namespace

TEST_CASE("jsonl: the kinds of rows") {
  const temporary_folder folder;
  put(folder / "a",
      good + "\n" + R"({"answer": 0, "id": 7, "choices": ["a","b","c"], "prompt": "é"})");
  const zoq::text_rows rows = read_rows(folder / "a");
  REQUIRE(rows.size() == 2);
  const auto& first = std::get<zoq::choice_row>(rows[0]);
  CHECK(first.prompt == "It was");
  CHECK(first.choices == std::vector<std::string>{" bad", " good"});
  CHECK(first.answer == 1);
  CHECK(std::get<zoq::choice_row>(rows[1]).choices.size() == 3);

  put(folder / "b", "{\"prompt\": \"2+2=\", \"completion\": \" 4\\n\"}\r\n");
  const zoq::text_rows completions = read_rows(folder / "b");
  REQUIRE(completions.size() == 1);
  const auto& completion = std::get<zoq::completion_row>(completions[0]);
  CHECK(completion.prompt == "2+2=");
  CHECK(completion.completion == " 4\n");

  put(folder / "c", "{\"text\": \"one\"}\r\n{\"text\": \"two\", \"source\": null}\r\n");
  const zoq::text_rows texts = read_rows(folder / "c");
  REQUIRE(texts.size() == 2);
  CHECK(std::get<zoq::text_row>(texts[1]).text == "two");

  put(folder / "d", R"({"rejected": "No.", "chosen": "Yes.", "prompt": "Well?"})");
  const zoq::text_rows pairs = read_rows(folder / "d");
  REQUIRE(pairs.size() == 1);
  const auto& pair = std::get<zoq::preference_row>(pairs[0]);
  CHECK(pair.prompt == "Well?");
  CHECK(pair.chosen == "Yes.");
  CHECK(pair.rejected == "No.");
  CHECK(zoq::kind_of(pairs[0]) == zoq::row_kind::preference);
  CHECK(zoq::kind_of(rows[0]) == zoq::row_kind::choice);
  CHECK(zoq::kind_of(completions[0]) == zoq::row_kind::completion);
  CHECK(zoq::kind_of(texts[0]) == zoq::row_kind::text);
}

TEST_CASE("jsonl: errors name file and line") {
  CHECK(error_of("") == "train.jsonl: is empty");
  CHECK(error_of(good + "\n\n" + good) == "train.jsonl:2: empty line");
  CHECK(error_of(good + "\n \t\r\n" + good) == "train.jsonl:2: empty line");
  CHECK(error_of(good + "\n" + good + "\n\n") == "train.jsonl:3: empty line");
  CHECK(error_of("\n") == "train.jsonl:1: empty line");
  CHECK(error_of(good + "\n{\"text\": }\n").rfind("train.jsonl:2: broken JSON at column 10: ", 0) ==
        0);
  CHECK(error_of(good + "\n[1]") == "train.jsonl:2: a JSON array, wanted an object");
  CHECK(error_of("{\"prompt\": \"x\"}") ==
        "train.jsonl:1: none of the keys \"choices\", \"completion\", \"chosen\", \"text\"");
  CHECK(error_of("{\"text\": \"a\xff\"}") == "train.jsonl:1: invalid UTF-8 at byte 11");
  CHECK(error_of("{\"text\": \"a\", \"text\": \"b\"}") ==
        "train.jsonl:1: key \"text\" comes twice");
  CHECK(error_of("{\"text\": \"\"}") == "train.jsonl:1: \"text\" is empty");
  CHECK(error_of("{\"text\": 1}") == "train.jsonl:1: \"text\" is of type number, wanted a string");
  CHECK(error_of("{\"completion\": \"x\"}") == "train.jsonl:1: key \"prompt\" is missing");
  CHECK(error_of("{\"prompt\": \"\", \"completion\": \"x\"}") ==
        "train.jsonl:1: \"prompt\" is empty");
  CHECK(error_of("{\"text\": \"a\"}\n" + good) ==
        "train.jsonl:2: a row with \"choices\" among rows with \"text\"");
}

TEST_CASE("jsonl: choices and answers") {
  CHECK(choice_error(R"(["a", "b"])", "2") == "train.jsonl:1: answer 2 is outside the 2 choices");
  CHECK(choice_error(R"(["a", "b"])", "-1") == "train.jsonl:1: answer -1 is outside the 2 choices");
  CHECK(choice_error(R"(["a", "b"])", "18446744073709551615") ==
        "train.jsonl:1: answer 18446744073709551615 is outside the 2 choices");
  CHECK(choice_error(R"(["a", "b"])", "1.0") ==
        "train.jsonl:1: \"answer\" is of type number, wanted a whole number");
  CHECK(choice_error(R"(["a", "b"])", "\"b\"") ==
        "train.jsonl:1: \"answer\" is of type string, wanted a whole number");
  CHECK(choice_error(R"(["a"])", "0") == "train.jsonl:1: 1 choices, wanted 2 to 4096");
  CHECK(choice_error(R"([])", "0") == "train.jsonl:1: 0 choices, wanted 2 to 4096");
  CHECK(choice_error(R"(["a", "b", "a"])", "0") == "train.jsonl:1: choice 2 comes twice: \"a\"");
  CHECK(choice_error(R"(["a", ""])", "0") == "train.jsonl:1: choice 1 is empty");
  CHECK(choice_error(R"(["a", 2])", "0") ==
        "train.jsonl:1: choice 1 is of type number, wanted a string");
  CHECK(choice_error(R"("ab")", "0") ==
        "train.jsonl:1: \"choices\" is of type string, wanted an array");
  CHECK(error_of(R"({"prompt": "p", "choices": ["a", "b"]})") ==
        "train.jsonl:1: key \"answer\" is missing");
}

TEST_CASE("jsonl: preferences") {
  const auto pair_error = [](const std::string& chosen, const std::string& rejected) {
    return error_of(R"({"prompt": "p", "chosen": )" + chosen + R"(, "rejected": )" + rejected +
                    "}");
  };
  CHECK(pair_error("\"a\"", "\"a\"") == "train.jsonl:1: \"chosen\" and \"rejected\" are the same");
  CHECK(pair_error("\"\"", "\"a\"") == "train.jsonl:1: \"chosen\" is empty");
  CHECK(pair_error("\"a\"", "1") ==
        "train.jsonl:1: \"rejected\" is of type number, wanted a string");
  CHECK(error_of(R"({"prompt": "p", "chosen": "a"})") ==
        "train.jsonl:1: key \"rejected\" is missing");
  CHECK(error_of(R"({"chosen": "a", "rejected": "b"})") ==
        "train.jsonl:1: key \"prompt\" is missing");
  CHECK(error_of(good + "\n" + R"({"prompt": "p", "chosen": "a", "rejected": "b"})") ==
        "train.jsonl:2: a row with \"chosen\" among rows with \"choices\"");
}

TEST_CASE("jsonl: a row cut at any byte is refused") {
  for (std::size_t n = 1; n < good.size(); ++n) {
    CAPTURE(n);
    REQUIRE_FALSE(error_of(good.substr(0, n)).empty());
  }
}

TEST_CASE("jsonl: a missing file and a folder") {
  const temporary_folder folder;
  CHECK(message_of([&] { read_rows(folder / "none"); }) ==
        folder / "none" + ": cannot open: No such file or directory");
  CHECK(message_of([&] { read_rows(folder.path()); }) ==
        folder.path() + ": is a directory, wanted a file");
}
