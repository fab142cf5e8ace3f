// SPDX-License-Identifier: Apache-2.0
#include "run_history.hpp"

#include <cmath>
#include <filesystem>
#include <map>
#include <zoq/core/error.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/train/record.hpp>
#include <zoq/train/trajectory.hpp>
#include <zoq/view/values_file.hpp>

namespace zoq::cli {

namespace {

/// A number of a line; none where it is null or not there.
std::optional<double> number(const nlohmann::json& line, const char* key,
                             const std::string& where) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null()) {
    return std::nullopt;
  }
  require(found->is_number(), where, ": \"", key, "\" is ", found->dump(), ", wanted a number");
  return found->get<double>();
}

void read_metrics(const std::string& path, run_history& out) {
  double seconds = 0;
  for_each_line(path, [&](const nlohmann::json& line, std::size_t at) {
    const std::string where = text(path, ":", at);
    const auto step = number(line, "step", where);
    require(step.has_value(), where, ": has no step");
    if (const auto loss = number(line, "valid_loss", where)) {
      out.valid.push_back({*step, *loss, number(line, "valid_accuracy", where)});
      return;
    }
    const auto loss = number(line, "loss", where);
    require(loss.has_value(), where, ": has no loss");
    seconds += number(line, "seconds", where).value_or(0);
    out.steps.push_back({*step, *loss, number(line, "signal_to_noise", where),
                         number(line, "tokens_per_second", where), seconds});
  });
}

std::vector<run_tensor> tensors_of(const std::string& path) {
  const zoq::tuned_values tuned = read_values(path);
  std::map<std::string, double> shares;  // by the block's name
  for (const tensor_mask& t : tuned.places.tensors) {
    shares[t.tensor] = static_cast<double>(t.index.size()) /
                       (static_cast<double>(t.rows) * static_cast<double>(t.columns));
  }
  std::vector<run_tensor> out;
  for (const named_values& block : tuned.blocks) {
    run_tensor one{block.name, static_cast<index_t>(block.values.size()), {}, 0};
    if (constexpr std::string_view offsets = ".offset"; one.name.ends_with(offsets)) {
      one.name.resize(one.name.size() - offsets.size());
    }
    if (const auto share = shares.find(one.name); share != shares.end()) {
      one.share = share->second;
    }
    double squares = 0;
    for (const float v : block.values) {
      squares += static_cast<double>(v) * static_cast<double>(v);
    }
    one.rms = one.values > 0 ? std::sqrt(squares / static_cast<double>(one.values)) : 0;
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace

run_history read_history(const std::string& folder) {
  run_history out;
  const std::filesystem::path at(folder);
  out.name = folder;
  const std::string record = (at / "trajectory.jsonl").string();
  require(exists_at(record), folder, ": holds no run (there is no trajectory.jsonl)");
  out.settings = read_trajectory(record).settings;
  read_metrics((at / "metrics.jsonl").string(), out);
  for (const char* name : {"delta.safetensors", "best.safetensors"}) {
    if (out.tensors.empty() && exists_at((at / name).string())) {
      out.tensors = tensors_of((at / name).string());
    }
  }
  for_each_line((at / "result.json").string(),
                [&](nlohmann::json line, std::size_t) { out.result = std::move(line); });
  return out;
}

}  // namespace zoq::cli
