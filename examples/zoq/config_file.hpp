// Options from a file: lines of TOML, `option = value`, the keys options without their dashes. CLI11 reads the values;
// what it would pass over in silence is refused before.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <filesystem>
#include <istream>
#include <map>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>
#include <zoq/core/error.hpp>
#include <zoq/io/byte_reader.hpp>

namespace zoq::cli {

/// Takes no sections, no option twice, and of a flag true or false alone.
struct config_file : CLI::ConfigTOML {
  static constexpr std::size_t most_bytes = 1 << 20;
  const CLI::App& app;
  explicit config_file(const CLI::App& of) : app(of) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::string all(most_bytes + 1, '\0');
    in.read(all.data(), static_cast<std::streamsize>(all.size()));
    all.resize(static_cast<std::size_t>(in.gcount()));
    require(all.size() <= most_bytes, text("more than ", most_bytes, " bytes"));
    std::istringstream lines(all);
    std::size_t number = 1;
    for (std::string line; std::getline(lines, line); ++number) {
      require_line(CLI::detail::trim_copy(line), text("line ", number, ": "));
    }
    lines = std::istringstream(all);
    std::vector<CLI::ConfigItem> given = CLI::ConfigTOML::from_config(lines);
    std::map<std::string, int> seen;
    for (const auto& item : given) {
      require_item(item);
      require(++seen[item.name] == 1, item.name + " is given twice");
    }
    return given;
  }

  /// A check for the option that names the file: devices and pipes may have no end.
  static CLI::Validator regular_file() {
    return {[](std::string& path) {
              std::error_code cause;
              return std::filesystem::is_regular_file(path, cause) ? std::string()
                     : cause                                       ? path + ": " + cause.message()
                             : path + ": is not a regular file";
            },
            "FILE"};
  }

 private:
  static void require(bool right, const std::string& message) {
    if (!right) {
      throw CLI::ConfigError("--config: " + message);
    }
  }

  static void require_line(const std::string& line, const std::string& where) {
    if (line.empty() || line[0] == '#' || line[0] == ';') {
      return;
    }
    for (const char c : line) {
      require(static_cast<unsigned char>(c) >= 0x20 || c == '\t', where + "a control character");
    }
    require(line[0] != '[', where + "sections are not known");
    const std::size_t equals = line.find('=');
    require(equals != 0 && equals != line.npos && line.size() > 2,
            where + "wanted option = value, found \"" + printable(line) + "\"");
    // A # begins a comment, as CLI11 reads it also between quotes.
    const std::string value =
        CLI::detail::trim_copy(line.substr(equals + 1, line.find('#', equals) - equals - 1));
    const bool quoted = !value.empty() && (value[0] == '"' || value[0] == '\'');
    require(!quoted || (value.size() > 1 && value.back() == value[0]),
            where + "the quotes of " + printable(value) + " do not close; a # begins a comment");
  }

  void require_item(const CLI::ConfigItem& item) const {
    const CLI::Option* option =
        item.parents.empty() ? app.get_option_no_throw("--" + item.name) : nullptr;
    require(option != nullptr, "an unknown option, " + item.fullname());
    const bool flag = option->get_expected_min() == 0;
    require(!flag || item.inputs.size() == 1, item.name + " is given twice");
    for (const std::string& value : item.inputs) {
      require(!flag || value == "true" || value == "false",
              item.name + " is \"" + printable(value) + "\", wanted true or false");
    }
  }
};

}  // namespace zoq::cli
