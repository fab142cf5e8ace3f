// SPDX-License-Identifier: Apache-2.0
#include "finetuning.hpp"

#include <limits>
#include <zoq/core/settings.hpp>
#include <zoq/estimate/rounds.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/score/scores.hpp>

#include "interrupt.hpp"
#include "on_device.hpp"
#include "option_checks.hpp"
#include "policy_trial.hpp"

namespace zoq::cli {

void finetune_options::add_to(CLI::App& app) {
  common.compute = "auto";
  common.add_to(app);
  app.add_option("--data", data, "A folder with train.jsonl, valid.jsonl and test.jsonl")
      ->required()
      ->check(not_empty());
  app.add_option("--view", view, "What is tuned: a name, or name:setting=value,... (zoq policies)")
      ->capture_default_str();
  app.add_option(
      "--mask", mask_from,
      "Which places, for the views sparse and hybrid: SCORE:FILE (fisher:general.txt), a score "
      "that needs no file (random), or a mask or delta file");
  mask.add_to(app, "--mask-samples", "--mask-length");
  app.add_option("--layers", layers, "Tune these layers alone: FIRST-LAST, FIRST- or one number");
  app.add_option("--exclude", exclude,
                 "Leave out tensors whose names hold one of these, by commas");
  app.add_option("--prompt-text", prompt_text, "What a prompt begins as; none: random tokens");
  app.add_option("--start", start_from, "Tuned values of the same view to start from");
  add_estimator_options(app, estimator, probes);
  app.add_option("--direction", direction, "How a direction is drawn (zoq policies)")
      ->capture_default_str();
  app.add_option("--epsilon", epsilon, "Length of a probe, or auto: from measured noise and bias")
      ->capture_default_str();
  app.add_option("--clip", clip, "Limit of the derivative along a direction; 0: none")
      ->check(real_number(0))
      ->capture_default_str();
  app.add_option("--clip-norm", clip_norm, "Limit of the norm of an estimate; 0: none")
      ->check(real_number(0))
      ->capture_default_str();
  app.add_option("--optimizer", optimizer, "What a gradient does to the values (zoq policies)")
      ->capture_default_str();
  app.add_option("--learning-rate", learning_rate,
                 "Step length on the gradient; by default as the optimizer has it")
      ->check(real_number(0));
  app.add_option("--schedule", schedule, "How the rate goes on over the steps (zoq policies)")
      ->capture_default_str();
  objective.add_to(app);
  app.add_option("--batch-size", batch_size, "Rows of each step")
      ->check(whole_number(1, 1 << 20))  // each is a number in memory, also of fewer rows
      ->capture_default_str();
  app.add_option("--row-order", row_order,
                 "stratified: every batch has each answer in its share of the rows")
      ->check(CLI::IsMember({"stratified", "shuffled"}))
      ->capture_default_str();
  app.add_option("--steps", steps, "Steps of the run")
      ->check(whole_number(1))
      ->capture_default_str();
  app.add_option("--eval-every", eval_every, "Steps between measurements on valid rows; 0: none")
      ->check(whole_number(0))
      ->capture_default_str();
  app.add_option("--eval-rows", eval_rows,
                 "Rows of test (and of valid) that are measured at most; 0: no measurement on "
                 "test, all of valid")
      ->check(whole_number(0))
      ->capture_default_str();
  app.add_option(
         "--divergence", divergence,
         "Stop when the running loss stays above this many times that of the start; 0: never")
      ->check(real_number(0))
      ->capture_default_str();
  app.add_option("--checkpoint-every", checkpoint_every, "Steps between checkpoints")
      ->check(whole_number(1))
      ->capture_default_str();
  app.add_option("--seed", seed, "Fixes every random choice")
      ->check(whole_number(0, std::numeric_limits<seed_t>::max()))
      ->capture_default_str();
  app.add_option("--out", out, "The folder of the run")->required()->check(not_empty());
  auto* flag =
      app.add_flag("--resume", resume, "Go on with the run in the folder, if there is one");
  app.add_flag("--force", force, "Replace the run in the folder")->excludes(flag);
}

any_estimator::list finetune_options::named_estimator() const {
  auto named = estimator_option(estimator, probes);
  if (given_epsilon().has_value()) {
    std::visit([&](auto& one) { one.epsilon = *given_epsilon(); }, named);
  }
  return named;
}

any_optimizer::list finetune_options::named_optimizer() const {
  auto named = from_option(
      "--optimizer", [&] { return policy_named<any_optimizer::list>("optimizer", optimizer); });
  std::visit(
      [&]<class O>(O& one) {
        if constexpr (requires { one.rate = 0.0; }) {
          one.rate = learning_rate.value_or(one.rate);
        } else {
          require_option(!learning_rate.has_value(), "--learning-rate",
                         text(O::name, " finds its own rate"));
        }
      },
      named);
  return named;
}

any_direction finetune_options::named_direction() const {
  return from_option("--direction",
                     [&] { return policy_named<any_direction>("direction", direction); });
}
any_schedule finetune_options::named_schedule() const {
  return from_option("--schedule",
                     [&] { return policy_named<any_schedule>("schedule", schedule); });
}
any_view finetune_options::named_view() const {
  return from_option("--view", [&] { return policy_named<any_view>("view", view); });
}
tensor_selection finetune_options::selection() const {
  return from_option("--layers", [&] { return select(layers, exclude); });
}

bool finetune_options::needs_mask() const { return traits_of(named_view()).tunes_places; }

void finetune_options::require_together() const {
  const any_view how = named_view();
  const view_traits can = traits_of(how);
  const auto* moved = std::get_if<subspace_settings>(&how);
  const std::string the_view =
      text("the view ", name_of(how), moved == nullptr ? "" : " of " + moved->of);
  require_option(!can.tunes_places || !mask_from.empty() || !start_from.empty(), "--mask",
                 the_view + " needs one, or --start");
  require_option(can.tunes_places || mask_from.empty(), "--mask", the_view + " takes none");
  require_option(can.begins_as_tokens || prompt_text.empty(), "--prompt-text",
                 the_view + " has no prompt");
  for (const auto& [option, value] : {std::pair{"--layers", layers}, {"--exclude", exclude}}) {
    require_option(can.chooses_tensors || value.empty(), option,
                   the_view + " tunes no tensors that could be left out");
    require_option(start_from.empty() || value.empty(), option,
                   "the file of --start says which tensors are tuned");
  }
  std::visit(
      [&]<class Z>(const Z&) {
        if constexpr (requires { Z::needs_matrices; }) {
          require_option(can.has_matrices, "--direction",
                         text(Z::name, " needs matrices, and ", the_view,
                              " tunes single values: use gaussian, rademacher or sphere"));
        }
      },
      named_direction());
}

void finetune_options::validate(const CLI::App& app) {
  common.validate();
  require_utf8("--prompt-text", prompt_text);  // both are in the record of the run
  require_utf8("--exclude", exclude);
  mask.seed = seed;
  if (mask.read(mask_from) && mask.source.empty() && mask.score.ends_with("-task")) {
    mask.source = data + "/train.jsonl";
  }
  require_together();
  if (!mask.score.empty()) {
    mask.validate();
  } else if (!mask_from.empty()) {
    std::string scores;
    for (const score_entry& s : score_entries) {
      scores += text(scores.empty() ? "" : ", ", s.name);
    }
    const bool there = from_option("--mask", [&] { return exists_at(mask_from); });
    require_option(there, "--mask",
                   text("there is no file ", mask_from, ", and no score of that name: ", scores));
  }
  mask.require_used(app, mask_from.empty() ? "no --mask SCORE chooses places by it"
                                           : "the places are those of " + mask_from);
  static_cast<void>(selection());
  try_policies(named_estimator(), named_optimizer(), named_direction(), named_schedule());
  common.pairs = asks_for_pairs(any_estimator(named_estimator()));
}

int finetune(CLI::App& app, const std::function<void()>& parse) {
  finetune_options options;
  options.add_to(app);
  parse();
  options.validate(app);
  const interrupt asked;
  return on_device(options.common, finetune_job{options});
}

}  // namespace zoq::cli
