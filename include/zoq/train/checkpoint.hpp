// A checkpoint: the values and the states of optimizer and estimator after a number of steps, so that a
// resumed run replays only what its trajectory holds beyond it.
//
//     auto& steps = trainer.steps();
//     zoq::write_checkpoint("checkpoint.safetensors", {steps.next(), values, steps.saved_optimizer(),
//                                                      hash, steps.saved_estimator()});
//     zoq::checkpoint from = zoq::read_checkpoint("checkpoint.safetensors", k, hash);
//     steps.resume(from.steps, from.optimizer, from.estimator);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

struct checkpoint {
  std::uint64_t steps = 0;         // taken so far
  std::vector<float> values;       // [k]
  std::vector<float> optimizer;    // as its state_size_of
  std::string run;                 // names the run that it belongs to
  std::vector<float> estimator{};  // what it saved; empty when it has nothing to save
};

/// Written whole or not at all. Throws, naming the file, also on values or states that are not finite:
/// nothing can go on from these.
void write_checkpoint(const std::string& path, const checkpoint& c);

/// Throws, naming the file, on anything that is not a checkpoint of `k` values of this run, and on
/// values or states that are not finite. Whether the states suit is the stepper's to say, in `resume`.
checkpoint read_checkpoint(const std::string& path, index_t k, const std::string& run);

}  // namespace zoq

#if ZOQ_BODIES

#include <charconv>
#include <cmath>
#include <span>
#include <system_error>

#include "zoq/core/error.hpp"
#include "zoq/io/byte_reader.hpp"
#include "zoq/io/safetensors.hpp"

namespace zoq {

namespace detail {

/// Throws, naming the file and what the numbers are, on one that is not finite.
ZOQ_BODY void require_finite(const std::string& path, const char* what, std::span<const float> x) {
  for (const float v : x) {
    require(std::isfinite(v), path, ": ", what, " is ", v);
  }
}

ZOQ_BODY void require_finite(const std::string& path, const checkpoint& c) {
  require_finite(path, "a value", c.values);
  require_finite(path, "a number of the optimizer's state", c.optimizer);
  require_finite(path, "a number of the estimator's state", c.estimator);
}

}  // namespace detail

ZOQ_BODY void write_checkpoint(const std::string& path, const checkpoint& c) {
  detail::require_finite(path, c);
  const auto floats = [](const char* name, const std::vector<float>& x) {
    return safetensor_of<float>(name, {static_cast<index_t>(x.size())}, x);
  };
  std::vector<safetensor> tensors = {floats("values", c.values), floats("optimizer", c.optimizer)};
  if (!c.estimator.empty()) {
    tensors.push_back(floats("estimator", c.estimator));
  }
  write_safetensors(
      path, tensors,
      {{"format", "zoq.checkpoint.1"}, {"steps", std::to_string(c.steps)}, {"run", c.run}});
}

ZOQ_BODY checkpoint read_checkpoint(const std::string& path, index_t k, const std::string& run) {
  const safetensors_file file = safetensors_file::open(path);
  require(file.metadata("format") == "zoq.checkpoint.1", path, ": not a checkpoint");
  checkpoint c;
  c.run = file.metadata("run");
  require(c.run == run, path, ": belongs to another run: it names ", printable(c.run),
          ", this run is ", run);
  const std::string& steps = file.metadata("steps");
  const auto [end, ec] = std::from_chars(steps.data(), steps.data() + steps.size(), c.steps);
  require(ec == std::errc() && end == steps.data() + steps.size(), path, ": steps are \"",
          printable(steps), "\"");
  c.values = file.values<float>("values");
  c.optimizer = file.values<float>("optimizer");
  require(static_cast<index_t>(c.values.size()) == k, path, ": ", c.values.size(), " values for ",
          k, " places");
  if (file.find("estimator") != nullptr) {
    c.estimator = file.values<float>("estimator");
  }
  detail::require_finite(path, c);
  return c;
}

}  // namespace zoq

#endif
