// The options of `zoq finetune`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "choose_mask.hpp"
#include "command.hpp"

namespace zoq::cli {

struct finetune_options {
  model_options common;
  mask_options mask;
  std::string data, out, mask_from, epsilon = "auto", estimator = "spsa", optimizer = "sgd",
                                    schedule = "cosine", direction = "gaussian",
                                    choice_score = "mean";
  double learning_rate = 3e-4;
  int probes = 3;
  index_t batch_size = 16, eval_every = 100, eval_rows = 1000, checkpoint_every = 50;
  std::uint64_t steps = 400;
  seed_t seed = 0;
  bool resume = false, force = false;

  void add_to(CLI::App& app);
  void validate();
  [[nodiscard]] std::optional<double> given_epsilon() const { return epsilon_given(epsilon); }
};

}  // namespace zoq::cli
