// Pictures as SVG, to stand in a page of HTML: lines over an axis, and a heat map. The colours are the page's
// variables --c0, --c1, ..., --ink, --grid; widths follow the page.
//
//     std::string svg = chart({.title = "Loss", .x = "step", .y = "loss"}, {{.points = points, .colour = 0}});
//     std::string map = heat_map("Tuned share", {"attn_q", "attn_k"}, {"0", "1", "2"}, cells, 0);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace zoq::cli {

/// `text` with the characters that mean something in HTML replaced; bytes that are no UTF-8 become U+FFFD.
std::string escaped(const std::string& text);

/// Four digits as %g writes them; whole numbers below a million with all digits.
std::string short_number(double value);

struct series {
  enum class mark { line, faint_line, dots };
  std::vector<std::pair<double, double>> points;  // ascending in x, finite
  int colour = 0;
  mark how = mark::line;
};

struct chart_axes {
  std::string title, x, y;
  bool logarithmic = false;  // y; what is not above 0 is left out
};

/// Lines over one pair of axes; without points a sentence that says so.
std::string chart(const chart_axes& axes, std::span<const series> all);

struct heat_cell {
  double value = 0;
  std::string tip;  // shown where a pointer rests
};

/// Rows by columns of cells, values of at least 0, darker where larger; none: there is no such matrix.
/// `cells` is [rows][columns].
std::string heat_map(const std::string& title, std::span<const std::string> rows,
                     std::span<const std::string> columns,
                     const std::vector<std::vector<std::optional<heat_cell>>>& cells, int colour);

}  // namespace zoq::cli
