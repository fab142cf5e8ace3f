// Checks of options. CLI11's own checks let nan pass, its conversion takes octal digits and clamps what no
// integer holds.
//
//     app.add_option("--steps", steps, "...")->check(whole_number(1));
//     app.add_option("--clip", clip, "...")->check(real_number(0));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>
#include <zoq/core/config.hpp>
#include <zoq/core/error.hpp>
#include <zoq/io/byte_reader.hpp>

namespace zoq::cli {

namespace checks {

/// True when all of `given` is a number of type T.
template <class T>
bool is_number(const std::string& given, T& value) {
  const auto [end, wrong] = std::from_chars(given.data(), given.data() + given.size(), value);
  return wrong == std::errc() && end == given.data() + given.size();
}

/// A check that tells what was wanted and found.
template <class Accepts>
CLI::Validator wanted(const std::string& what, const Accepts& accepts) {
  return {[=](std::string& given) {
            return accepts(given) ? std::string()
                                  : text("wanted ", what, ", found \"", printable(given), "\"");
          },
          ""};
}

}  // namespace checks

/// A path, or another text that names something.
inline CLI::Validator not_empty() {
  return checks::wanted("a name", [](const std::string& given) { return !given.empty(); });
}

/// Digits without a leading zero, of a number within the bounds.
inline CLI::Validator whole_number(
    std::uint64_t least,
    std::uint64_t most = static_cast<std::uint64_t>(std::numeric_limits<index_t>::max())) {
  return checks::wanted(text("a whole number from ", least, " to ", most),
                        [=](const std::string& given) {
                          std::uint64_t value = 0;
                          return checks::is_number(given, value) && value >= least &&
                                 value <= most && (given.size() == 1 || given[0] != '0');
                        });
}

/// A finite number within the bounds.
inline CLI::Validator real_number(double least, double most = std::numeric_limits<double>::max()) {
  const bool bounded = most < std::numeric_limits<double>::max();
  return checks::wanted(bounded ? text("a number from ", least, " to ", most)
                                : text("a finite number of at least ", least),
                        [=](const std::string& given) {
                          double value = 0;
                          return checks::is_number(given, value) && value >= least && value <= most;
                        });
}

}  // namespace zoq::cli
