// SPDX-License-Identifier: Apache-2.0
#include "finetuning.hpp"

#include <cmath>

#include "interrupt.hpp"
#include "on_device.hpp"

namespace zoq::cli {

void finetune_options::add_to(CLI::App& app) {
  common.compute = "auto";
  common.add_to(app);
  app.add_option("--data", data, "A folder with train.jsonl, valid.jsonl and test.jsonl")
      ->required();
  app.add_option("--mask", mask_from,
                 "What is tuned: fisher:TEXTFILE, random, magnitude, or a mask file")
      ->required();
  mask.add_to(app, "--mask-samples", "--mask-length");
  add_estimator_options(app, estimator, probes);
  app.add_option("--direction", direction, "How a direction is drawn")
      ->check(CLI::IsMember(names_of<any_direction>()))
      ->capture_default_str();
  app.add_option("--epsilon", epsilon, "Length of a probe, or auto: from measured noise and bias")
      ->capture_default_str();
  app.add_option("--optimizer", optimizer, "What a gradient does to the values")
      ->check(CLI::IsMember({"sgd"}))
      ->capture_default_str();
  app.add_option("--learning-rate", learning_rate, "Step length on the gradient")
      ->capture_default_str();
  app.add_option("--schedule", schedule, "How the rate goes on over the steps")
      ->check(CLI::IsMember(names_of<any_schedule>()))
      ->capture_default_str();
  app.add_option("--batch-size", batch_size, "Rows of each step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", steps, "Steps of the run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--eval-every", eval_every, "Steps between measurements on valid rows; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--eval-rows", eval_rows,
                 "Rows of test (and of valid) that are measured at most; 0: no measurement on "
                 "test, all of valid")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--checkpoint-every", checkpoint_every, "Steps between checkpoints")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--score-choices", choice_score, "A choice scores its tokens' mean or sum")
      ->check(CLI::IsMember({"mean", "sum"}))
      ->capture_default_str();
  app.add_option("--seed", seed, "Fixes every random choice")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--out", out, "The folder of the run")->required();
  auto* flag =
      app.add_flag("--resume", resume, "Go on with the run in the folder, if there is one");
  app.add_flag("--force", force, "Replace the run in the folder")->excludes(flag);
}

void finetune_options::validate() {
  require_option(std::isfinite(learning_rate) && learning_rate >= 0, "--learning-rate",
                 text("wanted a finite number of at least 0, found ", learning_rate));
  common.validate();
  mask.validate();
  static_cast<void>(given_epsilon());
  mask.seed = seed;
  if (mask_from.starts_with("fisher:")) {
    mask.score = "fisher";
    mask.text_file = mask_from.substr(7);
  } else if (mask_from == "random" || mask_from == "magnitude") {
    mask.score = mask_from;
  }
}

int finetune(CLI::App& app, const std::function<void()>& parse) {
  finetune_options options;
  options.add_to(app);
  parse();
  options.validate();
  const interrupt asked;
  return on_device(options.common, finetune_job{options});
}

}  // namespace zoq::cli
