// Rows of data: one JSON object a line, its kind seen from its keys.
//
//     {"prompt": "A fine film. It was", "choices": [" terrible", " great"], "answer": 1}
//     {"prompt": "Q: 2 + 2?\nA:", "completion": " 4"}
//     {"text": "Any running text."}
//     {"prompt": "Say hello.\n", "chosen": "Hello!", "rejected": "No."}
//
//     zoq::text_rows rows = zoq::read_rows("train.jsonl");
//     const auto& first = std::get<zoq::choice_row>(rows[0]);
//
// All rows of a file are of one kind. Other keys are ignored. Lines end in LF or CRLF; the last may
// end in neither.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"

namespace zoq {

inline constexpr index_t most_choices = 4096;  // of a row: a step holds all of them at once

/// Which of the choices goes on after the prompt?
struct choice_row {
  std::string prompt;                // not empty
  std::vector<std::string> choices;  // 2 to most_choices, all different, none empty
  index_t answer = 0;                // the number of the right one, from 0
};

/// What goes on after the prompt?
struct completion_row {
  std::string prompt;      // not empty
  std::string completion;  // not empty
};

/// Running text.
struct text_row {
  std::string text;  // not empty
};

/// Of two texts that may go on after the prompt, the better and the worse.
struct preference_row {
  std::string prompt;  // not empty
  /// Not empty.
  std::string chosen, rejected;  // likewise, and not the same
};

/// A row of any kind, in the order of row_kind.
using any_row = std::variant<choice_row, completion_row, text_row, preference_row>;
using text_rows = std::vector<any_row>;  // of one kind throughout

/// Which kind it is of.
[[nodiscard]] inline row_kind kind_of(const any_row& row) { return row_kinds[row.index()]; }

/// One row. Throws `error`, starting with `where`, on anything wrong.
any_row read_row(std::string_view line, const std::string& where);

/// One row more. Throws as read_row does, and on a row of another kind than the first.
void append_row(text_rows& rows, std::string_view line, const std::string& where);

/// All rows of a file. Throws `error` that starts with file and line ("train.jsonl:17: ...") on
/// broken JSON, a missing key, a wrong type, an answer outside the choices, an empty line, or a row
/// of another kind than the first; and on a file without rows.
text_rows read_rows(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/json.hpp"
#include "zoq/io/mapped_file.hpp"

namespace zoq {

namespace detail {

/// A string that must not be empty.
ZOQ_BODY const std::string& filled_string(const nlohmann::json& row, const char* key,
                                          const std::string& where) {
  const std::string& s = json_string(row, key, where);
  require(!s.empty(), where, ": \"", key, "\" is empty");
  return s;
}

ZOQ_BODY choice_row read_choice_row(const nlohmann::json& row, const std::string& where) {
  choice_row out;
  out.prompt = filled_string(row, "prompt", where);
  const nlohmann::json& choices = json_member(row, "choices", where);
  require(choices.is_array(), where, ": \"choices\" is of type ", choices.type_name(),
          ", wanted an array");
  std::set<std::string_view> seen;
  for (const nlohmann::json& choice : choices) {
    const std::size_t number = out.choices.size();
    require(choice.is_string(), where, ": choice ", number, " is of type ", choice.type_name(),
            ", wanted a string");
    const auto& s = choice.get_ref<const std::string&>();
    require(!s.empty(), where, ": choice ", number, " is empty");
    require(seen.insert(s).second, where, ": choice ", number, " comes twice: \"", printable(s),
            "\"");
    out.choices.push_back(s);
  }
  const auto count = static_cast<index_t>(out.choices.size());
  require(count >= 2 && count <= most_choices, where, ": ", count, " choices, wanted 2 to ",
          most_choices);
  const nlohmann::json& answer = json_member(row, "answer", where);
  require(answer.is_number_integer(), where, ": \"answer\" is of type ", answer.type_name(),
          ", wanted a whole number");
  out.answer = answer.get<index_t>();  // negative when the JSON number is too large for it
  require(out.answer >= 0 && out.answer < count, where, ": answer ", answer.dump(),
          " is outside the ", count, " choices");
  return out;
}

}  // namespace detail

ZOQ_BODY any_row read_row(std::string_view line, const std::string& where) {
  const nlohmann::json row = parse_json(line, where);
  require(row.is_object(), where, ": a JSON ", row.type_name(), ", wanted an object");
  if (row.contains("choices")) {
    return detail::read_choice_row(row, where);
  }
  if (row.contains("completion")) {
    return completion_row{detail::filled_string(row, "prompt", where),
                          detail::filled_string(row, "completion", where)};
  }
  if (row.contains("chosen")) {
    preference_row out{detail::filled_string(row, "prompt", where),
                       detail::filled_string(row, "chosen", where),
                       detail::filled_string(row, "rejected", where)};
    require(out.chosen != out.rejected, where, ": \"chosen\" and \"rejected\" are the same");
    return out;
  }
  require(row.contains("text"), where,
          ": none of the keys \"choices\", \"completion\", \"chosen\", \"text\"");
  return text_row{detail::filled_string(row, "text", where)};
}

ZOQ_BODY void append_row(text_rows& rows, std::string_view line, const std::string& where) {
  any_row row = read_row(line, where);
  require(rows.empty() || row.index() == rows[0].index(), where, ": a row with \"",
          key_of(kind_of(row)), "\" among rows with \"",
          key_of(kind_of(rows.empty() ? row : rows[0])), "\"");
  rows.push_back(std::move(row));
}

ZOQ_BODY text_rows read_rows(const std::string& path) {
  const mapped_file file(path);
  const auto* start = reinterpret_cast<const char*>(file.bytes().data());
  std::string_view rest(start, file.bytes().size());
  require(!rest.empty(), path, ": is empty");
  text_rows out;
  while (!rest.empty()) {
    const std::string where = text(path, ":", out.size() + 1);
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    require(line.find_first_not_of(" \t") != std::string_view::npos, where, ": empty line");
    append_row(out, line, where);
  }
  return out;
}

}  // namespace zoq

#endif
