// The options of `zoq finetune`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <zoq/optim/optimizers.hpp>
#include <zoq/optim/schedule.hpp>
#include <zoq/random/directions.hpp>
#include <zoq/view/layouts.hpp>

#include "choose_mask.hpp"
#include "command.hpp"

namespace zoq::cli {

struct finetune_options {
  model_options common;
  mask_options mask;
  objective_options objective;
  std::string data, out, mask_from, start_from, layers, exclude, prompt_text;
  std::string epsilon = "auto", estimator = "spsa:probes=3", optimizer = "sgd", schedule = "cosine",
              direction = "gaussian", view = "sparse", row_order = "stratified";
  std::optional<double> learning_rate;  // none: the optimizer's own
  std::optional<int> probes;            // none: the estimator's own
  double clip = 0, clip_norm = 0;       // 0: no limit
  double divergence = 2;                // 0: never
  index_t batch_size = 16, eval_every = 100, eval_rows = 1000, checkpoint_every = 50;
  std::uint64_t steps = 400;
  seed_t seed = 0;
  bool resume = false, force = false;

  void add_to(CLI::App& app);
  /// Wrong usage where an option makes no sense, alone or beside the others. `app`: which were given.
  void validate(const CLI::App& app);
  /// As --epsilon or the text of the estimator says; nothing where it is to be measured.
  [[nodiscard]] std::optional<double> given_epsilon() const {
    return epsilon_given(epsilon, estimator);
  }
  /// True when the view tunes the places of a mask.
  [[nodiscard]] bool needs_mask() const;

  // What the options name; wrong usage when there is no such thing.
  [[nodiscard]] any_estimator::list named_estimator() const;
  [[nodiscard]] any_optimizer::list named_optimizer() const;
  [[nodiscard]] any_direction named_direction() const;
  [[nodiscard]] any_schedule named_schedule() const;
  [[nodiscard]] any_view named_view() const;
  [[nodiscard]] tensor_selection selection() const;

 private:
  void require_together() const;  // what only some views and directions can do
};

}  // namespace zoq::cli
