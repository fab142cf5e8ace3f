// From a description of a mask to the mask: how `zoq mask` and `zoq finetune` make one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <zoq/sparse/mask.hpp>

#include "command.hpp"

namespace zoq::cli {

struct mask_options {
  std::string score;      // fisher, magnitude, random
  std::string text_file;  // for fisher
  double density = 0.001;
  std::string scope = "matrix";
  index_t samples = 48;
  index_t length = 128;
  seed_t seed = 0;

  /// Wrong usage unless the density is in (0, 1].
  void validate() const;

  /// Adds --density, --scope and the two options of this name for samples and length.
  void add_to(CLI::App& app, const char* samples_name, const char* length_name);

  /// What the mask depends on, beside the model: for records of runs.
  [[nodiscard]] nlohmann::json describe() const;
};

/// Makes the mask, with a progress bar. Memory: for fisher, one layer's squared gradients and the
/// inputs of all layers; else one matrix of floats.
mask choose_mask(const model_options& common, const opened_model& m, const mask_options& options);

}  // namespace zoq::cli
