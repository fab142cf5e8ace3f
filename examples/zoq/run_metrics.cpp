// SPDX-License-Identifier: Apache-2.0
#include "run_metrics.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "command.hpp"

namespace zoq::cli {

run_metrics::run_metrics(const std::string& path, std::uint64_t steps,
                         std::span<const step_figures> again, const health_options& how)
    : health_(how), file_([&] {
        std::vector<nlohmann::json> kept;
        std::uint64_t last = 0;  // step with a line
        const std::uint64_t begin = steps - again.size();
        std::size_t number = 0;
        for (nlohmann::json& line : read_lines(path)) {
          const std::string where = text(path, ":", ++number);
          const auto step = line.find("step");
          require(step != line.end() && step->is_number_unsigned(), where, ": has no step");
          if (step->get<std::uint64_t>() > steps) {
            continue;  // the trajectory does not hold it
          }
          if (!line.contains("valid_loss")) {
            require(step->get<std::uint64_t>() == last + 1, where, ": is of step ", step->dump(),
                    ", wanted ", last + 1);
            ++last;
          }
          read(line, where);
          kept.push_back(std::move(line));
        }
        require(last >= begin, path, ": holds ", last, " steps, the checkpoint ", begin,
                "; --force starts again");
        for (const step_figures& f : again) {
          if (f.result.step + 1 > last) {
            kept.push_back(line_of(f));
            read(kept.back(), path);
          }
        }
        write_lines(path, kept);
        return line_file(path);
      }()) {}

void run_metrics::add(const step_figures& f) {
  const nlohmann::json line = line_of(f);
  read(line, "metrics");
  file_.append(line);
}

void run_metrics::add(const valid_point& p) {
  note(p);
  file_.append({{"step", p.step}, {"valid_loss", p.loss}, {"valid_accuracy", or_null(p.accuracy)}});
  file_.flush();
}

nlohmann::json run_metrics::line_of(const step_figures& f) const {
  return {{"step", f.result.step + 1},
          {"loss", f.result.loss},
          {"slope", f.result.slope},
          {"signal_to_noise", or_null(health_.signal_to_noise(f.result.difference))},
          {"rate", f.rate},
          {"seconds", or_null(f.seconds)},
          {"tokens_per_second", or_null(f.tokens_per_second)}};
}

// A line as it lies in the file: health and best follow from these alone, in this process or the next.
void run_metrics::read(const nlohmann::json& line, const std::string& where) {
  const auto number = [&](const char* key) {
    const auto found = line.find(key);
    return found != line.end() && found->is_number() ? std::optional(found->get<double>())
                                                     : std::nullopt;
  };
  if (line.contains("valid_loss")) {
    require(number("valid_loss").has_value(), where, ": valid_loss is no number");
    note({line["step"], *number("valid_loss"), number("valid_accuracy")});
  } else {
    require(number("loss").has_value(), where, ": has no loss");
    health_.note(*number("loss"), number("signal_to_noise"));
  }
}

void run_metrics::note(const valid_point& p) {
  validated_ = p.step;
  if (is_best(p)) {
    best_ = p;
  }
}

}  // namespace zoq::cli
