// SPDX-License-Identifier: Apache-2.0
#include "describe_run.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <variant>
#include <zoq/core/hash.hpp>
#include <zoq/core/settings.hpp>
#include <zoq/io/mapped_file.hpp>

#include "settings.hpp"

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
          {"row_order", options.row_order},
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

std::string hash_of_values(const zoq::tuned_values& values) {
  std::map<std::string_view, const named_values*> blocks;  // files have an order of their own
  for (const named_values& one : values.blocks) {
    blocks.emplace(one.name, &one);
  }
  content_hash h;
  bool any = false;
  for (const auto& [name, one] : blocks) {
    h.add(name).add(std::as_bytes(std::span<const float>(one->values)));
    any =
        any || std::any_of(one->values.begin(), one->values.end(), [](float v) { return v != 0; });
  }
  return any ? h.hex() : std::string();
}

void require_first_values(const std::string& path, const nlohmann::json& settings,
                          const std::string& source) {
  const auto wanted = setting<std::string>(settings, "first_values", source);
  const bool is_there = exists_at(path);
  require(is_there || wanted.empty(), path, ": is missing: the values that the run began with");
  require(!is_there || hash_of_values(read_values(path)) == wanted, path,
          ": not the values that the run began with");
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
