// metrics.jsonl of a run: what every step and every measurement on valid rows gave, and which of these
// did best.
//
//     run_metrics metrics(folder / "metrics.jsonl", steps_so_far);
//     metrics.add_step(result, rate, seconds, tokens_per_second);
//     if (metrics.add_valid(step, loss, accuracy)) { ... }              // the best so far
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
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

class run_metrics {
 public:
  /// Keeps the lines of the first `steps` steps that the file holds, if there is one, and goes on
  /// behind them. Throws, naming the file.
  run_metrics(const std::string& path, std::uint64_t steps);

  void add_step(const step_result& r, double rate, double seconds, double tokens_per_second);

  /// Whether a measurement beats all before.
  [[nodiscard]] bool is_best(const valid_point& p) const { return !best_ || p.beats(*best_); }
  void add_valid(const valid_point& p);

  [[nodiscard]] const std::optional<valid_point>& best() const { return best_; }
  /// The step of the last measurement on valid rows; 0 before the first.
  [[nodiscard]] std::uint64_t validated() const { return validated_; }

 private:
  void note(const valid_point& p);

  std::optional<valid_point> best_;
  std::uint64_t validated_ = 0;
  line_file file_;
};

}  // namespace zoq::cli
