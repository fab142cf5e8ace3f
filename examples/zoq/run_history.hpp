// What the folder of a run tells about it, for pictures: nothing but its files is read, so that a run may still
// be going on.
//
//     const run_history run = read_history("run");
//     run.steps.back().loss;  run.settings["optimizer"];  run.tensors.size();
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>
#include <zoq/core/config.hpp>

namespace zoq::cli {

struct run_step {
  double step = 0;  // from 1
  double loss = 0;
  std::optional<double> signal_to_noise, tokens_per_second;
  double seconds =
      0;  // of this and all steps before; those that were taken again from a record count nothing
};

struct run_measurement {  // on valid rows
  double step = 0, loss = 0;
  std::optional<double> accuracy;
};

/// One block of tuned values, of a tensor of the model or beside it.
struct run_tensor {
  std::string name;             // "blk.3.attn_q.weight", as the model or the view calls it
  index_t values = 0;           //
  std::optional<double> share;  // of the tensor's weights that are tuned, where there is a mask
  double rms = 0;  // root mean square of its values, after the last steps that were saved
};

struct run_history {
  std::string name;         // the folder's
  nlohmann::json settings;  // of the trajectory's first line
  nlohmann::json result;    // what the run said at its end; null while it has not ended
  std::vector<run_step> steps;
  std::vector<run_measurement> valid;
  std::vector<run_tensor>
      tensors;  // of delta.safetensors, or of what did best; of none while there is neither
};

/// Throws, naming file and line, where there is no run and where one of its files is broken.
run_history read_history(const std::string& folder);

}  // namespace zoq::cli
