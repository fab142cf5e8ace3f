// metrics.jsonl of a run: what every step and every measurement on valid rows gave, which of these did
// best, and whether the run learns.
//
//     run_metrics metrics(folder / "metrics.jsonl", steps_so_far, again, {.noise = s});
//     metrics.add({result, rate, seconds, tokens_per_second});
//     if (metrics.is_best(point)) { ... }
//     metrics.add(point);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <zoq/train/health.hpp>
#include <zoq/train/record.hpp>
#include <zoq/train/step.hpp>

namespace zoq::cli {

/// A measurement on valid rows.
struct valid_point {
  std::uint64_t step = 0;  // steps taken
  double loss = 0;
  std::optional<double> accuracy;  // none for objectives without one

  /// Higher accuracy, or the same and a lower loss.
  [[nodiscard]] bool beats(const valid_point& other) const {
    const double right = accuracy.value_or(0), others = other.accuracy.value_or(0);
    return right > others || (right == others && loss < other.loss);
  }
};

/// A step. How long it took is not known when it was taken again from its recorded losses.
struct step_figures {
  step_result result;
  double rate = 0;  // with the schedule's factor
  std::optional<double> seconds, tokens_per_second;
};

class run_metrics {
 public:
  /// Keeps the lines of the first `steps` steps that the file holds, if there is one, adds those that it
  /// lacks of `again`, and goes on behind them. Throws, naming file and line, also where it lacks another step:
  /// which values did best, and whether the run learns, is not known then.
  run_metrics(const std::string& path, std::uint64_t steps, std::span<const step_figures> again,
              const health_options& how);

  void add(const step_figures& f);

  /// Whether a measurement beats all before.
  [[nodiscard]] bool is_best(const valid_point& p) const { return !best_ || p.beats(*best_); }
  /// On the disk when this returns: what is best must not be forgotten.
  void add(const valid_point& p);

  /// Brings all lines to the disk.
  void flush() const { file_.flush(); }

  /// By all steps of the run.
  [[nodiscard]] const run_health& health() const { return health_; }

  [[nodiscard]] const std::optional<valid_point>& best() const { return best_; }
  /// The step of the last measurement on valid rows; 0 before the first.
  [[nodiscard]] std::uint64_t validated() const { return validated_; }

 private:
  [[nodiscard]] nlohmann::json line_of(const step_figures& f) const;
  void read(const nlohmann::json& line, const std::string& where);
  void note(const valid_point& p);

  run_health health_;
  std::optional<valid_point> best_;
  std::uint64_t validated_ = 0;
  line_file file_;
};

}  // namespace zoq::cli
