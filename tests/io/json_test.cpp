// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/json.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "temporary_folder.hpp"

using zoq::parse_json;
using zoq::test::is_one_line;
using zoq::test::message_of;

TEST_CASE("json: values come back") {
  const nlohmann::json value = parse_json(R"({"a": [1, -2.5, null, true], "b": "\u00e9"})", "f");
  CHECK(value["a"][1] == -2.5);
  CHECK(zoq::json_string(value, "b", "f") == "\xc3\xa9");
  CHECK(message_of([&] { zoq::json_string(value, "a", "f"); }) ==
        "f: \"a\" is of type array, wanted a string");
  CHECK(message_of([&] { zoq::json_member(value, "c", "f"); }) == "f: key \"c\" is missing");
}

TEST_CASE("json: many objects side by side take time that grows as they do") {
  std::string rows = "[{}", keys = "{\"0\":{}";
  for (int i = 1; i < 300000; ++i) {  // by rescanning at each of them: minutes
    rows += ",{}";
    keys += ",\"" + std::to_string(i) + "\":{}";
  }
  CHECK(parse_json(rows + "]", "f").size() == 300000);
  CHECK(parse_json(keys + "}", "f").size() == 300000);
}

TEST_CASE("json: a slip is an error of one line that names source and column") {
  const auto error_of = [](const std::string& text) {
    const std::string message = message_of([&] { return parse_json(text, "f:3"); });
    CHECK(is_one_line(message));
    return message;
  };
  CHECK(error_of("{\"a\": 1,}").rfind("f:3: broken JSON at column 9: ", 0) == 0);
  CHECK(error_of("").rfind("f:3: broken JSON at column 1: ", 0) == 0);
  CHECK(error_of("{} {}").rfind("f:3: broken JSON at column 4: ", 0) == 0);
  CHECK(error_of("{\"a\n\": 1}").rfind("f:3: broken JSON at column 4: ", 0) == 0);
  CHECK(error_of("{\"a\": 1, \"a\": 1}") == "f:3: key \"a\" comes twice");
  CHECK(error_of("[{\"b\": {\"a\": 1, \"c\": {}, \"a\": 1}}]") == "f:3: key \"a\" comes twice");
  CHECK(error_of("\"a\xff\"") == "f:3: invalid UTF-8 at byte 2");
  CHECK(error_of(std::string(1000000, '[')) == "f:3: JSON nested deeper than 8");
  CHECK(error_of("[1e999]") == "f:3: broken JSON: a number is beyond what a double holds");
  CHECK(message_of([] { return parse_json("[1, [2]]", "f", {.most_values = 3}); }) ==
        "f: more than 3 values and keys of JSON");
  CHECK(message_of([] { return parse_json("{\"a\": [1]}", "f", {.most_values = 4}); }).empty());
  std::string many = "[0";
  for (int i = 0; i < 1 << 20; ++i) {
    many += ",0";
  }
  CHECK(error_of(many + "]") == "f:3: more than 1048576 values and keys of JSON");
  CHECK(message_of([] { return parse_json(R"({"a": {"a": 1}, "b": {"a": 1}})", "f"); }).empty());
}
