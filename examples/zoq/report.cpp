// zoq report: one page of HTML with pictures of one run, or of several side by side.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <set>
#include <zoq/io/atomic_file.hpp>
#include <zoq/ops/tensors.hpp>

#include "command.hpp"
#include "drawing.hpp"
#include "run_history.hpp"

namespace zoq::cli {

namespace {

constexpr int colours = 8;                // that the style has
constexpr std::size_t most_points = 500;  // of a line

constexpr const char* style = R"(<style>
:root { --ink: #1d232b; --soft: #5b6470; --paper: #ffffff; --card: #f6f7f9; --grid: #dde1e6;
  --c0: #1f5fbf; --c1: #c8452f; --c2: #23875a; --c3: #8a4fbf; --c4: #b7790b; --c5: #0f8b8d; --c6: #c23b84; --c7: #6b7280 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a3abb6; --paper: #14181d; --card: #1d232b;
  --grid: #38414d; --c0: #6ea8ff; --c1: #ff8a73; --c2: #5fd09a; --c3: #c69bff; --c4: #f0b95b; --c5: #5fd0d2;
  --c6: #ff8fc4; --c7: #b4bcc8 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 1500px; font: 16px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper) }
h1 { font-size: 1.5rem; margin: 0.3rem 0 } h2 { font-size: 1.15rem; margin: 1.6rem 0 0.6rem }
p { margin: 0.3rem 0; color: var(--soft) }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)) }
figure { margin: 0; padding: 0.7rem; background: var(--card); border-radius: 8px }
figure p { font-size: 0.85rem }
figcaption { font-weight: 600; margin-bottom: 0.3rem; overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--soft); font-size: 13px }
polyline { fill: none; stroke-width: 2 } .faint { stroke-width: 1; opacity: 0.35 } .grid { stroke: var(--grid) }
.key { display: inline-block; width: 0.9em; height: 0.9em; border-radius: 3px; margin-right: 0.4em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 0.9rem }
th, td { text-align: left; padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--grid); vertical-align: top;
  overflow-wrap: anywhere; min-width: 7em }
th:first-child { white-space: nowrap }
tr.differs td { font-weight: 600 }
</style>
)";

/// The mean of `size` neighbours around each point, and no more points than a picture can show.
series smooth(const std::vector<std::pair<double, double>>& points, std::size_t size, int colour) {
  series out{{}, colour, series::mark::line};
  const std::size_t every = (points.size() + most_points - 1) / most_points;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i % every == 0 || i + 1 == points.size()) {
      const std::size_t first = i - std::min(i, size / 2);
      const std::size_t last = std::min(points.size(), i + size / 2 + 1);
      double sum = 0;
      for (std::size_t n = first; n < last; ++n) {
        sum += points[n].second;
      }
      out.points.emplace_back(points[i].first, sum / static_cast<double>(last - first));
    }
  }
  return out;
}

/// y(step) by x(step) of every run: as it is, and smoothed.
template <class X, class Y>
std::vector<series> by_steps(std::span<const run_history> runs, const X& x, const Y& y) {
  std::vector<series> out;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::pair<double, double>> points;
    for (const run_step& s : runs[r].steps) {
      if (const std::optional<double> value = y(s)) {
        points.emplace_back(x(s), *value);
      }
    }
    const int colour = static_cast<int>(r) % colours;
    series raw = smooth(points, 1, colour);
    raw.how = series::mark::faint_line;
    out.push_back(std::move(raw));
    out.push_back(smooth(points, std::max<std::size_t>(3, points.size() / 20), colour));
  }
  return out;
}

template <class Y>
std::vector<series> by_measurements(std::span<const run_history> runs, const Y& y) {
  std::vector<series> out;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    series line{{}, static_cast<int>(r) % colours, series::mark::line};
    for (const run_measurement& m : runs[r].valid) {
      if (const std::optional<double> value = y(m)) {
        line.points.emplace_back(m.step, *value);
      }
    }
    series dots = line;
    dots.how = series::mark::dots;
    out.push_back(std::move(line));
    out.push_back(std::move(dots));
  }
  return out;
}

std::string pictures_of(std::span<const run_history> runs) {
  const auto step = [](const run_step& s) { return s.step; };
  const auto minutes = [](const run_step& s) { return s.seconds / 60; };
  const auto loss = [](const run_step& s) { return std::optional(s.loss); };
  return text(
      "<div class=\"pictures\">",
      chart({"Loss of the batches", "step", "loss"}, by_steps(runs, step, loss)),
      chart({"Loss by time", "minutes of tuning", "loss"}, by_steps(runs, minutes, loss)),
      chart({"Loss on valid rows", "step", "loss"},
            by_measurements(runs, [](const run_measurement& m) { return std::optional(m.loss); })),
      chart({"Accuracy on valid rows", "step", "accuracy"},
            by_measurements(runs, [](const run_measurement& m) { return m.accuracy; })),
      chart({"Difference of losses over their rounding noise", "step", "signal to noise", true},
            by_steps(runs, step, [](const run_step& s) { return s.signal_to_noise; })),
      chart({"Speed", "step", "tokens a second"},
            by_steps(runs, step, [](const run_step& s) { return s.tokens_per_second; })),
      "</div>\n");
}

/// The row of a map that a tensor stands in: "attn_q" of "blk.3.attn_q.weight".
std::string row_name(const run_tensor& t) {
  std::string row = layer_of(t.name) < 0 ? t.name : t.name.substr(t.name.find('.', 4) + 1);
  if (const std::size_t weight = row.find(".weight"); weight != row.npos) {
    row.erase(weight, 7);
  }
  return row;
}

/// A map of layers by matrices; `value` is what is shown of a tensor. What belongs to no layer has a column of
/// its own, "-", behind them.
template <class Value>
std::string map_of(const std::string& title, const run_history& run, int colour,
                   const Value& value) {
  constexpr index_t no_layer = std::numeric_limits<index_t>::max();
  const auto layer = [&](const run_tensor& t) {
    const index_t l = layer_of(t.name);
    return l < 0 ? no_layer : l;
  };
  std::vector<std::string> rows, columns;
  std::map<index_t, std::size_t> column_of;  // by layer
  for (const run_tensor& t : run.tensors) {
    if (std::find(rows.begin(), rows.end(), row_name(t)) == rows.end()) {
      rows.push_back(row_name(t));
    }
    column_of[layer(t)] = 0;
  }
  for (auto& [l, column] : column_of) {
    column = columns.size();
    columns.push_back(l == no_layer ? "-" : std::to_string(l));
  }
  if (rows.size() * columns.size() > 100'000) {
    return "";  // no network that anybody draws: a page of gigabytes
  }
  std::vector cells(rows.size(), std::vector<std::optional<heat_cell>>(columns.size()));
  for (const run_tensor& t : run.tensors) {
    const auto row = std::find(rows.begin(), rows.end(), row_name(t)) - rows.begin();
    if (const std::optional<double> v = value(t)) {
      cells[static_cast<std::size_t>(row)][column_of[layer(t)]] = {
          *v, text(t.name, ": ", with_commas(t.values), " values, ", short_number(*v))};
    }
  }
  return heat_map(title, rows, columns, cells, colour);
}

std::string maps_of(std::span<const run_history> runs) {
  std::string out;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const int colour = static_cast<int>(r) % colours;
    out += map_of("Tuned share of each matrix, %: " + runs[r].name, runs[r], colour,
                  [](const run_tensor& t) {
                    return t.share.has_value() ? std::optional(100 * *t.share) : std::nullopt;
                  });
    out += map_of("How far its values moved (root mean square): " + runs[r].name, runs[r], colour,
                  [](const run_tensor& t) { return std::optional(t.rms); });
  }
  return out.empty()
             ? ""
             : "<h2>Where in the network</h2>\n<p>Columns are layers.</p><div class=\"pictures\">" +
                   out + "</div>\n";
}

/// A row of cells; marked where they are not all alike.
std::string row_of(const std::string& head, const std::vector<std::string>& cells) {
  const bool same = std::equal(cells.begin() + 1, cells.end(), cells.begin());
  std::string out = text("<tr", same ? "" : " class=\"differs\"", "><th>", escaped(head), "</th>");
  for (const std::string& cell : cells) {
    out += "<td>" + escaped(cell) + "</td>";
  }
  return out + "</tr>\n";
}

std::string shown(const nlohmann::json& value) {
  return value.is_string()         ? value.get<std::string>()
         : value.is_number_float() ? short_number(value.get<double>())
         : value.is_null()         ? std::string()
                                   : value.dump();
}

/// One row for every key that one of the objects has, in the order of the alphabet.
template <class Object>
std::string rows_of(std::span<const run_history> runs, const Object& object) {
  std::set<std::string> keys;
  for (const run_history& run : runs) {
    const nlohmann::json& one = object(run);
    for (auto at = one.begin(); at != one.end(); ++at) {
      keys.insert(at.key());
    }
  }
  std::string out;
  for (const std::string& key : keys) {
    std::vector<std::string> cells;
    for (const run_history& run : runs) {
      const nlohmann::json& one = object(run);
      cells.push_back(one.contains(key) ? shown(one[key]) : std::string());
    }
    out += row_of(key, cells);
  }
  return out;
}

std::string summary_of(std::span<const run_history> runs) {
  std::vector<std::string> steps, tuned, best, seconds;
  for (const run_history& run : runs) {
    index_t values = 0;
    for (const run_tensor& t : run.tensors) {
      values += t.values;
    }
    const auto least =
        std::min_element(run.valid.begin(), run.valid.end(),
                         [](const auto& a, const auto& b) { return a.loss < b.loss; });
    steps.push_back(
        text(run.steps.size(), " of ", shown(run.settings.value("steps", nlohmann::json()))));
    tuned.push_back(run.tensors.empty() ? "" : with_commas(values));
    best.push_back(least == run.valid.end()
                       ? ""
                       : text(short_number(least->loss), " at step ", short_number(least->step)));
    seconds.push_back(run.steps.empty() ? "" : short_number(run.steps.back().seconds / 60));
  }
  return row_of("steps", steps) + row_of("tuned values", tuned) + row_of("least valid loss", best) +
         row_of("minutes of tuning", seconds);
}

std::string page_of(std::span<const run_history> runs) {
  std::string names, heads;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const std::string name = text("<span class=\"key\" style=\"background:var(--c", r % colours,
                                  ")\"></span>", escaped(runs[r].name));
    names += (r > 0 ? " &#160; " : "") + name;
    heads += "<th>" + name + "</th>";
  }
  const auto table = [&](const std::string& title, const std::string& rows) {
    return rows.empty() ? std::string()
                        : text("<h2>", title, "</h2>\n<div class=\"wide\"><table><tr><th></th>",
                               heads, "</tr>\n", rows, "</table></div>\n");
  };
  return text(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\"/>\n<title>zoq: ",
      escaped(runs[0].name), runs.size() > 1 ? text(" and ", runs.size() - 1, " more") : "",
      "</title>\n", style, "</head><body>\n<h1>Tuning runs</h1>\n<p>", names,
      "</p>\n<p>Faint lines are single steps, the others means of neighbouring ones.</p>\n",
      table("In short", summary_of(runs)), "<h2>Course</h2>\n", pictures_of(runs), maps_of(runs),
      table("Results", rows_of(
                           runs, [](const run_history& r) -> auto& { return r.result; })),
      table("Settings", rows_of(
                            runs, [](const run_history& r) -> auto& { return r.settings; })),
      "<p>zoq ", ZOQ_VERSION, "</p>\n</body></html>\n");
}

}  // namespace

int report(CLI::App& app, const std::function<void()>& parse) {
  std::vector<std::string> folders;
  std::string out;
  bool json = false;
  app.add_option("runs", folders, "Folders of runs")->required();
  app.add_option("--out", out,
                 "The page, an HTML file; by default report.html in the first folder");
  app.add_flag("--json", json, "Print one line of JSON");
  parse();

  std::vector<run_history> runs;
  for (const std::string& folder : folders) {
    runs.push_back(read_history(folder));
  }
  if (out.empty()) {
    out = (std::filesystem::path(folders[0]) / "report.html").string();
  }
  require_replaceable(out, ".html");
  write_file_atomically(out, page_of(runs));
  if (json) {
    print_json({{"report", out}, {"runs", runs.size()}});
  } else {
    std::cout << out << '\n';
  }
  return 0;
}

}  // namespace zoq::cli
