// A checkpoint: the values and the optimizer's state after a number of steps, so that a resumed run
// replays only what its trajectory holds beyond it.
//
//     zoq::write_checkpoint("checkpoint.safetensors", {step, values, state, hash});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/io/safetensors.hpp"

namespace zoq {

struct checkpoint {
  std::uint64_t steps = 0;       // taken so far
  std::vector<float> values;     // [k]
  std::vector<float> optimizer;  // [k * state_floats]
  std::string run;               // names the run that it belongs to
};

/// Written whole or not at all. Throws, naming the file.
inline void write_checkpoint(const std::string& path, const checkpoint& c) {
  const std::vector<safetensor> tensors = {
      safetensor_of<float>("values", {static_cast<index_t>(c.values.size())}, c.values),
      safetensor_of<float>("optimizer", {static_cast<index_t>(c.optimizer.size())}, c.optimizer)};
  write_safetensors(
      path, tensors,
      {{"format", "zoq.checkpoint.1"}, {"steps", std::to_string(c.steps)}, {"run", c.run}});
}

/// Throws, naming the file, on anything that is not a checkpoint of `k` values of this run.
inline checkpoint read_checkpoint(const std::string& path, index_t k, const std::string& run) {
  const safetensors_file file = safetensors_file::open(path);
  require(file.metadata("format") == "zoq.checkpoint.1", path, ": not a checkpoint");
  checkpoint c;
  c.run = file.metadata("run");
  require(c.run == run, path, ": belongs to another run: it names ", c.run, ", this run is ", run);
  const std::string& steps = file.metadata("steps");
  const auto [end, ec] = std::from_chars(steps.data(), steps.data() + steps.size(), c.steps);
  require(ec == std::errc() && end == steps.data() + steps.size(), path, ": steps are \"", steps,
          "\"");
  c.values = file.values<float>("values");
  c.optimizer = file.values<float>("optimizer");
  require(static_cast<index_t>(c.values.size()) == k, path, ": ", c.values.size(), " values for ",
          k, " places");
  for (const float v : c.values) {
    require(std::isfinite(v), path, ": a value is ", v);
  }
  return c;
}

}  // namespace zoq
