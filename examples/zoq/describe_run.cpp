// SPDX-License-Identifier: Apache-2.0
#include "describe_run.hpp"

#include <variant>
#include <zoq/core/hash.hpp>
#include <zoq/core/settings.hpp>
#include <zoq/io/mapped_file.hpp>

namespace zoq::cli {

nlohmann::json describe_run(const finetune_options& options, const opened_model& m,
                            const task_rows& train, std::string_view compute,
                            std::string_view kernels) {
  const auto file_hash = [](const std::string& path) {
    return path.empty() ? std::string() : content_hash().add(mapped_file(path).bytes()).hex();
  };
  return {{"zoq", "trajectory.1"},
          {"model", m.model.hash()},
          {"view", policy_text(options.named_view())},
          {"layers", options.layers},
          {"exclude", options.exclude},
          {"prompt_text", options.prompt_text},
          {"mask_from", options.mask.score.empty() ? nlohmann::json(file_hash(options.mask_from))
                                                   : options.mask.describe()},
          {"start", file_hash(options.start_from)},
          {"rows", hash_of(train.rows)},
          {"special_tokens", options.common.special_tokens},
          {"objective", train.objective.visit([](const auto& one) { return policy_text(one); })},
          {"score_choices", options.objective.choice_score},
          {"estimator", policy_text(options.named_estimator())},
          {"epsilon_from", options.given_epsilon().has_value() ? "given" : "auto"},
          {"direction", policy_text(options.named_direction())},
          {"optimizer", policy_text(options.named_optimizer())},
          {"schedule", policy_text(options.named_schedule())},
          {"clip", options.clip},
          {"clip_norm", options.clip_norm},
          {"steps", options.steps},
          {"batch_size", options.batch_size},
          {"seed", options.seed},
          {"compute", compute},
          {"kernels", kernels}};
}

void set_epsilon(nlohmann::json& settings, const finetune_options& options, double epsilon) {
  any_estimator::list e = options.named_estimator();
  std::visit([&](auto& one) { one.epsilon = epsilon; }, e);
  settings["epsilon"] = epsilon;
  settings["estimator"] = policy_text(e);
}

void require_same_settings(const nlohmann::json& asked, const nlohmann::json& found,
                           const std::string& source) {
  std::string other;
  for (const auto& [key, value] : asked.items()) {
    const auto there = found.find(key);
    if (there == found.end() || *there != value) {
      other += text(other.empty() ? "" : "; ", key, " ",
                    there == found.end() ? "missing" : there->dump(), ", asked ", value.dump());
    }
  }
  require(other.empty(), source, ": the run has other settings than the command (", other,
          "); --force starts again");
}

}  // namespace zoq::cli
