// From a description of a mask to the mask: how `zoq mask` and `zoq finetune` make one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>
#include <zoq/data/example.hpp>
#include <zoq/objective/objectives.hpp>
#include <zoq/sparse/mask.hpp>

#include "command.hpp"

namespace zoq::cli {

struct mask_options {
  std::string score;     // a name of score/scores.hpp
  std::string source;    // a text, or rows (a file of JSON lines), for scores that need one
  std::string settings;  // of the score: "probes=8"
  double density = 0.001;
  std::string scope = "matrix";
  index_t samples = 0;  // windows of text, or rows; 0: as many as suit the score
  index_t length = 128;
  seed_t seed = 0;
  std::string score_option = "--mask", samples_option, length_option;  // names, for messages
  std::string save_scores = {};  // a file for the scores of all weights; empty: none

  /// Wrong usage unless the density is in (0, 1], the score is known, and it has the source it needs.
  void validate() const;
  /// Wrong usage, saying why, where one of the options below is given and has no effect.
  void require_used(const CLI::App& app, const std::string& without_score) const;

  /// Adds --density, --scope, --score-settings and the two options of this name for samples and length.
  void add_to(CLI::App& app, const char* samples_name, const char* length_name);

  /// "fisher:general.txt" as score and source; false when this names no score.
  bool read(std::string_view text);

  [[nodiscard]] bool of_rows() const { return source.ends_with(".jsonl"); }

  /// What the mask depends on, beside the model: for records of runs.
  [[nodiscard]] nlohmann::json describe() const;
};

/// Makes the mask at the tuned values `at` (null: at the base), with a progress bar. Memory: for
/// scores with a reverse pass, one layer's gradients and the inputs of some layers; else one matrix of
/// floats, or two.
mask choose_mask(const model_options& common, const opened_model& m, const mask_options& options,
                 const zoq::tuned_values* at = nullptr);

}  // namespace zoq::cli
