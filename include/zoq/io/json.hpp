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
#include <utility>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/utf8.hpp"

namespace zoq {

namespace detail {

/// Looks at a text before its values are made: nlohmann's own callbacks for that look through all members of
/// an object again at the end of each of its objects.
class json_check {
 public:
  using value = nlohmann::json;

  json_check(const std::string& source, const json_bounds& bounds)
      : source_(source), bounds_(bounds) {}

  bool null() { return count(); }
  bool boolean(bool) { return count(); }
  bool number_integer(value::number_integer_t) { return count(); }
  bool number_unsigned(value::number_unsigned_t) { return count(); }
  bool number_float(value::number_float_t, const value::string_t&) { return count(); }
  bool string(value::string_t&) { return count(); }
  bool binary(value::binary_t&) { return count(); }
  bool start_object(std::size_t) { return open(); }
  bool start_array(std::size_t) { return open(); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(value::string_t& name) {
    const auto [at, is_new] = keys_.back().insert(std::move(name));
    require(is_new, source_, ": key \"", printable(*at), "\" comes twice");
    return count();
  }

  bool parse_error(std::size_t column, const std::string&, const value::exception& e) {
    if (dynamic_cast<const value::out_of_range*>(&e) != nullptr) {
      fail(source_, ": broken JSON: a number is beyond what a double holds");
    }
    // Its message reads "[...] parse error at line 1, column 5: reason".
    const std::string_view message = e.what();
    const std::size_t reason = message.find(": ");
    fail(source_, ": broken JSON at column ", column,
         reason == std::string_view::npos ? "" : printable(message.substr(reason)));
  }

 private:
  bool count() {
    require(++values_ <= bounds_.most_values, source_, ": more than ", bounds_.most_values,
            " values and keys of JSON");
    return true;
  }
  bool open() {
    keys_.emplace_back();
    require(static_cast<int>(keys_.size()) <= bounds_.deepest, source_,
            ": JSON nested deeper than ", bounds_.deepest);
    return count();
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  const std::string& source_;
  const json_bounds& bounds_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open; arrays have none
  index_t values_ = 0;
};

}  // namespace detail

ZOQ_BODY nlohmann::json parse_json(std::string_view text, const std::string& source,
                                   const json_bounds& bounds) {
  const index_t bad = first_invalid_utf8(text);
  require(bad < 0, source, ": invalid UTF-8 at byte ", bad);
  detail::json_check check(source, bounds);
  nlohmann::json::sax_parse(text, &check);
  return nlohmann::json::parse(text);
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
