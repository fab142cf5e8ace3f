// Strict reading of one JSON text, for formats where a slip should be an error and not a surprise.
//
//     nlohmann::json row = zoq::parse_json(line, "train.jsonl:17");
//     const std::string& prompt = zoq::json_string(row, "prompt", "train.jsonl:17");
//
// Include <nlohmann/json.hpp> as well where a value is looked at: this header only names its type.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq {

/// What a JSON text may hold: so much that no row or header of use is refused, and so little that the
/// memory of its values stays near 100 bytes each, beside that of its strings.
struct json_bounds {
  int deepest = 8;                // objects and arrays in each other
  index_t most_values = 1 << 20;  // keys count too
};

/// The value of `text`. Throws `error`, starting with `source`, on invalid UTF-8, broken JSON (with
/// its column), a number beyond a double, a key that comes twice in one object, and more than the
/// bounds. The text may be hostile: nothing recurses.
nlohmann::json parse_json(std::string_view text, const std::string& source,
                          const json_bounds& bounds = {});

/// The member `key` of `object`. Throws `error`, starting with `source`, when it is missing.
const nlohmann::json& json_member(const nlohmann::json& object, const char* key,
                                  const std::string& source);

/// The string `key` of `object`. Throws `error`, starting with `source`, when it is missing or is
/// no string.
const std::string& json_string(const nlohmann::json& object, const char* key,
                               const std::string& source);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/utf8.hpp"

namespace zoq {

ZOQ_BODY nlohmann::json parse_json(std::string_view text, const std::string& source,
                                   const json_bounds& bounds) {
  const index_t bad = first_invalid_utf8(text);
  require(bad < 0, source, ": invalid UTF-8 at byte ", bad);
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  index_t values = 0;
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using event_type = nlohmann::json::parse_event_t;
    require(depth <= bounds.deepest, source, ": JSON nested deeper than ", bounds.deepest);
    if (event != event_type::object_end && event != event_type::array_end) {
      ++values;
      require(values <= bounds.most_values, source, ": more than ", bounds.most_values,
              " values and keys of JSON");
    }
    if (event == event_type::object_start) {
      keys.emplace_back();
    } else if (event == event_type::object_end) {
      keys.pop_back();
    } else if (event == event_type::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      require(keys.back().insert(key).second, source, ": key \"", printable(key), "\" comes twice");
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::parse_error& e) {
    // Its message reads "[...] parse error at line 1, column 5: reason".
    const std::string_view message = e.what();
    const std::size_t reason = message.find(": ");
    fail(source, ": broken JSON at column ", e.byte,
         reason == std::string_view::npos ? "" : printable(message.substr(reason)));
  } catch (const nlohmann::json::out_of_range&) {
    fail(source, ": broken JSON: a number is beyond what a double holds");
  }
}

ZOQ_BODY const nlohmann::json& json_member(const nlohmann::json& object, const char* key,
                                           const std::string& source) {
  const auto at = object.find(key);
  require(at != object.end(), source, ": key \"", key, "\" is missing");
  return *at;
}

ZOQ_BODY const std::string& json_string(const nlohmann::json& object, const char* key,
                                        const std::string& source) {
  const nlohmann::json& value = json_member(object, key, source);
  require(value.is_string(), source, ": \"", key, "\" is of type ", value.type_name(),
          ", wanted a string");
  return value.get_ref<const std::string&>();
}

}  // namespace zoq

#endif
