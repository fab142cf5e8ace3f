// SPDX-License-Identifier: Apache-2.0
#include "run_report.hpp"

#include <ostream>

#include "command.hpp"

namespace zoq::cli {

void print_for_people(std::ostream& out, const run_report& r) {
  out << "memory: model file " << in_megabytes(r.model_bytes) << " (mapped), activations "
      << in_megabytes(r.activation_bytes) << ", tuned values " << in_megabytes(r.value_bytes)
      << "; peak of the process " << in_megabytes(peak_rss_bytes())
      << "\ntime: " << static_cast<index_t>(r.tuning_seconds) << " s of tuning at "
      << static_cast<index_t>(r.tokens_per_second()) << " tokens/s, "
      << static_cast<index_t>(r.seconds) << " s in all\nsaved in " << r.folder << std::endl;
}

nlohmann::json json_of(const run_report& r) {
  const auto accuracy = [&](const std::optional<evaluation>& e) {
    return e.has_value() && r.chooses ? nlohmann::json(e->accuracy()) : nlohmann::json();
  };
  const auto loss = [](const std::optional<evaluation>& e) {
    return e.has_value() ? nlohmann::json(e->branch[0].mean()) : nlohmann::json();
  };
  return {
      {"accuracy_before", accuracy(r.before)},
      {"accuracy_after", accuracy(r.after)},
      {"loss_before", loss(r.before)},
      {"loss_after", loss(r.after)},
      {"majority", or_null(r.majority)},
      {"best_valid_accuracy", r.best.has_value() ? or_null(r.best->accuracy) : nlohmann::json()},
      {"best_valid_step", r.best.has_value() ? nlohmann::json(r.best->step) : nlohmann::json()},
      {"signal_to_noise", or_null(r.signal_to_noise)},
      {"diverged_step",
       r.diverged_step.has_value() ? nlohmann::json(*r.diverged_step) : nlohmann::json()},
      {"noise_evaluations", r.noise_evaluations},
      {"steps", r.steps},
      {"trainable", r.trainable},
      {"epsilon", r.epsilon},
      {"seconds", r.seconds},
      {"mask_seconds", r.mask_seconds},
      {"tuning_seconds", r.tuning_seconds},
      {"evaluations", r.cost.evaluations},
      {"forward_tokens", r.cost.tokens},
      {"tokens_per_second", r.tokens_per_second()},
      {"peak_rss_bytes", peak_rss_bytes()},
      {"delta", r.delta}};
}

}  // namespace zoq::cli
