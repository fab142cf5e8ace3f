// SPDX-License-Identifier: Apache-2.0
#include "run_metrics.hpp"

#include <utility>
#include <vector>

#include "command.hpp"

namespace zoq::cli {

namespace {

/// The lines of the first `steps` steps.
std::vector<nlohmann::json> lines_up_to(std::uint64_t steps, const std::string& path) {
  std::vector<nlohmann::json> out;
  for (nlohmann::json& line : read_lines(path)) {
    if (line.value("step", ~std::uint64_t{0}) <= steps) {
      out.push_back(std::move(line));
    }
  }
  return out;
}

}  // namespace

run_metrics::run_metrics(const std::string& path, std::uint64_t steps)
    : file_([&] {
        const std::vector<nlohmann::json> kept = lines_up_to(steps, path);
        for (const nlohmann::json& line : kept) {
          if (line.contains("valid_loss")) {
            const auto accuracy = line.value("valid_accuracy", nlohmann::json());
            note({line.value("step", std::uint64_t{0}), line.value("valid_loss", 0.0),
                  accuracy.is_number() ? std::optional(accuracy.get<double>()) : std::nullopt});
          }
        }
        write_lines(path, kept);
        return line_file(path);
      }()) {}

void run_metrics::add_step(const step_result& r, double rate, double seconds,
                           double tokens_per_second) {
  file_.append({{"step", r.step + 1},
                {"loss", r.loss},
                {"slope", r.slope},
                {"rate", rate},
                {"seconds", seconds},
                {"tokens_per_second", tokens_per_second}});
}

void run_metrics::add_valid(const valid_point& p) {
  note(p);
  file_.append({{"step", p.step}, {"valid_loss", p.loss}, {"valid_accuracy", or_null(p.accuracy)}});
}

void run_metrics::note(const valid_point& p) {
  validated_ = p.step;
  if (is_best(p)) {
    best_ = p;
  }
}

}  // namespace zoq::cli
