// The settings line of a run: written from its options, compared when the run goes on.
//
//     nlohmann::json settings = describe_run(options, model, rows, "f32", "avx2");
//     set_epsilon(settings, options, 5e-3);
//     require_same_settings(settings, earlier.settings, "run/trajectory.jsonl");
//
// settings.hpp makes the policies of a run from such a line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "command.hpp"
#include "finetune_options.hpp"

namespace zoq::cli {

/// All that the values after a number of steps depend on, but for what is found by work: the mask
/// and the epsilon. `compute` and `kernels` are those in use, never "auto". Reads the files that
/// --mask and --start name, for their hashes.
nlohmann::json describe_run(const finetune_options& options, const opened_model& m,
                            const task_rows& train, std::string_view compute,
                            std::string_view kernels);

/// The epsilon that is used, given or measured.
void set_epsilon(nlohmann::json& settings, const finetune_options& options, double epsilon);

/// The hash of the values that a run begins with, block by block; empty when all are zero.
std::string hash_of_values(const zoq::tuned_values& values);

/// Throws, naming the file, unless it holds the values that the run began with: there is none where all were zero.
void require_first_values(const std::string& path, const nlohmann::json& settings,
                          const std::string& source);

/// Throws, naming `source` and every setting of `asked` that `found` lacks or has otherwise.
void require_same_settings(const nlohmann::json& asked, const nlohmann::json& found,
                           const std::string& source);

}  // namespace zoq::cli
