// SPDX-License-Identifier: Apache-2.0
#include "drawing.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <zoq/core/error.hpp>
#include <zoq/io/utf8.hpp>

namespace zoq::cli {

namespace {

constexpr double wide = 480, high = 270;  // of a chart, in its own units
constexpr double left = 58, right = 12, top = 12, bottom = 40;

/// "12.3": a place in a picture.
std::string at(double v) {
  char out[32];
  std::snprintf(out, sizeof out, "%.1f", v);
  return out;
}

struct range {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  void note(double v) {
    least = std::min(least, v);
    most = std::max(most, v);
  }
  [[nodiscard]] bool empty() const { return least > most; }
  [[nodiscard]] double share(double v) const { return (v - least) / (most - least); }
};

/// All of its values are the same, but for rounding.
bool flat(const range& r) {
  return r.most - r.least <= 1e-9 * std::fmax(std::fabs(r.least), std::fabs(r.most));
}

/// The distance of about five round numbers within a range that is not flat.
double tick_step(const range& r) {
  const double raw = (r.most - r.least) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double m : {1.0, 2.0, 5.0}) {
    if (m * power >= raw) {
      return m * power;
    }
  }
  return 10 * power;
}

std::vector<double> ticks(const range& r) {
  const double step = tick_step(r), first = std::ceil(r.least / step);
  std::vector<double> out;
  for (int i = 0; i < 20 && (first + i) * step <= r.most; ++i) {
    out.push_back((first + i) * step + 0.0);  // not -0
  }
  return out;
}

/// A tick's number, with as many digits as tell it from the next.
std::string tick_text(double value, double step) {
  if (step < 1e-6 || std::fabs(value) >= 1e6) {
    return short_number(value);
  }
  char out[48];
  const int digits = std::max(0, static_cast<int>(-std::floor(std::log10(step))));
  std::snprintf(out, sizeof out, "%.*f", digits, value);
  return out;
}

/// Logarithms of 1, 2 and 5 times powers of ten within a range; of the powers alone where these are enough.
std::vector<double> log_ticks(const range& r) {
  std::vector<double> fine, powers;
  for (double p = std::floor(r.least); p <= r.most; ++p) {
    for (const double m : {1.0, 2.0, 5.0}) {
      const double v = p + std::log10(m);
      if (v >= r.least && v <= r.most) {
        fine.push_back(v);
        if (m == 1.0) {
          powers.push_back(v);
        }
      }
    }
  }
  return powers.size() >= 3 ? powers : fine.size() >= 2 ? fine : ticks(r);
}

/// A range that is not empty, with room above and below.
range roomy(range r) {
  const double size = std::fmax(std::fabs(r.least), std::fabs(r.most));
  const double room = flat(r) ? std::fmax(0.5 * size, 1e-12) : 0.05 * (r.most - r.least);
  return {r.least - room, r.most + room};
}

std::string text_at(double x, double y, const char* anchor, const std::string& what) {
  return text("<text x=\"", at(x), "\" y=\"", at(y), "\" text-anchor=\"", anchor, "\">", what,
              "</text>");
}

struct frame {
  range x, y;
  [[nodiscard]] double across(double v) const { return left + (wide - left - right) * x.share(v); }
  [[nodiscard]] double down(double v) const {
    return high - bottom - (high - top - bottom) * y.share(v);
  }
};

std::string grid(const chart_axes& axes, const frame& f) {
  std::string out;
  for (const double v : ticks(f.x)) {
    out += text_at(f.across(v), high - bottom + 16, "middle", tick_text(v, tick_step(f.x)));
  }
  for (const double v : axes.logarithmic ? log_ticks(f.y) : ticks(f.y)) {
    out += text(
        "<line class=\"grid\" x1=\"", at(left), "\" x2=\"", at(wide - right), "\" y1=\"",
        at(f.down(v)), "\" y2=\"", at(f.down(v)), "\"/>",
        text_at(left - 6, f.down(v) + 4, "end",
                axes.logarithmic ? short_number(std::pow(10.0, v)) : tick_text(v, tick_step(f.y))));
  }
  return out + text_at((left + wide - right) / 2, high - 6, "middle", escaped(axes.x));
}

std::string drawn(const series& one, const frame& f) {
  std::string out;
  if (one.how == series::mark::dots) {
    for (const auto& [x, y] : one.points) {
      out += text("<circle cx=\"", at(f.across(x)), "\" cy=\"", at(f.down(y)),
                  "\" r=\"3\" fill=\"var(--c", one.colour, ")\"/>");
    }
    return out;
  }
  for (const auto& [x, y] : one.points) {
    out += text(out.empty() ? "" : " ", at(f.across(x)), ",", at(f.down(y)));
  }
  return text("<polyline", one.how == series::mark::faint_line ? " class=\"faint\"" : "",
              " stroke=\"var(--c", one.colour, ")\" points=\"", out, "\"/>");
}

std::string opened(double width, double height, const std::string& title) {
  return text("<svg viewBox=\"0 0 ", at(width), " ", at(height), "\" role=\"img\" aria-label=\"",
              escaped(title), "\">");
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const int bytes = read_utf8(text, i).bytes;
    switch (text[i]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += bytes == 0 ? "\xef\xbf\xbd" : text.substr(i, static_cast<std::size_t>(bytes));
    }
    i += static_cast<std::size_t>(std::max(1, bytes));
  }
  return out;
}

std::string short_number(double value) {
  char out[32];
  const bool whole =
      std::fabs(value) < 1e6 && std::fabs(value - std::round(value)) < 1e-9 * std::fabs(value);
  std::snprintf(out, sizeof out, whole ? "%.0f" : "%.4g", value);
  return out;
}

std::string chart(const chart_axes& axes, std::span<const series> all) {
  frame f;
  std::vector<series> shown(all.begin(), all.end());
  for (series& one : shown) {
    if (axes.logarithmic) {
      std::erase_if(one.points, [](const auto& p) { return !(p.second > 0); });
    }
    for (auto& [x, y] : one.points) {
      x = std::clamp(x, -1e300, 1e300);  // a range of them is a number yet
      y = std::clamp(y, -1e300, 1e300);
      y = axes.logarithmic ? std::log10(y) : y;
      f.x.note(x);
      f.y.note(y);
    }
  }
  const std::string head = "<figure><figcaption>" + escaped(axes.title) + "</figcaption>";
  if (f.x.empty()) {
    return head + "<p>No run has such figures.</p></figure>";
  }
  f.x = flat(f.x) ? roomy(f.x) : f.x;
  f.y = roomy(f.y);
  std::string out =
      head + opened(wide, high, axes.title + ": " + axes.y + " by " + axes.x) + grid(axes, f);
  for (const series& one : shown) {
    out += drawn(one, f);
  }
  return out + "</svg></figure>";
}

std::string heat_map(const std::string& title, std::span<const std::string> rows,
                     std::span<const std::string> columns,
                     const std::vector<std::vector<std::optional<heat_cell>>>& cells, int colour) {
  range values;
  for (const auto& row : cells) {
    for (const auto& cell : row) {
      if (cell.has_value()) {
        values.note(cell->value);
      }
    }
  }
  if (values.empty()) {
    return "";
  }
  std::size_t longest = 0;
  for (const std::string& row : rows) {
    longest = std::max(longest, row.size());
  }
  const double names = std::fmin(200.0, 12 + 7.0 * static_cast<double>(longest));
  const double cell_high = 18;
  const double cell_wide =
      std::fmin(40.0, (wide - names - right) / static_cast<double>(columns.size()));
  const double height = 20 + cell_high * static_cast<double>(rows.size());
  std::string out =
      "<figure><figcaption>" + escaped(title) + "</figcaption>" + opened(wide, height, title);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const double y = cell_high * static_cast<double>(r);
    out += text_at(names - 6, y + 13, "end", escaped(rows[r]));
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (const auto& cell = cells[r][c]; cell.has_value()) {
        const double share = values.most > 0 ? cell->value / values.most : 0;
        out += text("<rect x=\"", at(names + cell_wide * static_cast<double>(c)), "\" y=\"", at(y),
                    "\" width=\"", at(std::fmax(0.1, cell_wide - 0.6)), "\" height=\"",
                    at(cell_high - 0.6), "\" fill=\"var(--c", colour, ")\" fill-opacity=\"",
                    short_number(0.05 + 0.95 * share), "\"><title>", escaped(cell->tip),
                    "</title></rect>");
      }
    }
  }
  // So many names that they do not touch.
  const auto every = static_cast<std::size_t>(std::ceil(24 / cell_wide));
  for (std::size_t c = 0; c < columns.size(); c += every) {
    out += text_at(names + cell_wide * (static_cast<double>(c) + 0.5), height - 6, "middle",
                   escaped(columns[c]));
  }
  return out + "</svg><p>" + short_number(values.least) + " to " + short_number(values.most) +
         "; darkest is most.</p></figure>";
}

}  // namespace zoq::cli
