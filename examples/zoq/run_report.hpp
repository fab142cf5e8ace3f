// What a run tells at its end, to people and as one line of JSON.
//
//     run_report report;                       // filled in while the run goes on
//     print_for_people(std::cout, report);
//     print_json(json_of(report));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <zoq/train/evaluate.hpp>
#include <zoq/train/trainer.hpp>

#include "run_metrics.hpp"

namespace zoq::cli {

struct run_report {
  std::optional<evaluation> before, after;  // on test rows
  std::optional<double> majority;           // share of the most frequent answer among them
  bool chooses = false;                     // the objective has an accuracy
  std::optional<valid_point> best;          // of best.safetensors
  std::optional<double> signal_to_noise;    // of the last steps
  std::optional<std::uint64_t> diverged_step;
  index_t noise_evaluations = 0;  // losses that measured it alone; not in `cost`
  std::uint64_t steps = 0;
  index_t trainable = 0;
  double epsilon = 0;
  double mask_seconds = 0, tuning_seconds = 0, seconds = 0;
  train_cost cost;
  index_t model_bytes = 0, activation_bytes = 0, value_bytes = 0;
  std::string folder, delta;

  /// Inside forward passes, over all branches.
  [[nodiscard]] double tokens_per_second() const {
    return cost.seconds > 0 ? static_cast<double>(cost.tokens) / cost.seconds : 0.0;
  }
};

/// Memory, time, and where the run lies.
void print_for_people(std::ostream& out, const run_report& report);

/// The keys of docs/commands.md.
nlohmann::json json_of(const run_report& report);

}  // namespace zoq::cli
