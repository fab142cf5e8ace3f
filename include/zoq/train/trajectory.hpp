// The trajectory of a run, read from its file: see train/record.hpp.
//
//     zoq::trajectory t = zoq::read_trajectory("trajectory.jsonl");    // t.losses[step]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

/// A run's settings, and the losses of its steps.
struct trajectory {
  nlohmann::json settings = nlohmann::json::object();  // the first line of the file
  std::vector<std::vector<answer>> losses;             // by step
};

/// Throws, naming file and line, when the file is missing, has no settings, or its steps are not
/// 0, 1, 2, ...
trajectory read_trajectory(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/io/mapped_file.hpp"
#include "zoq/train/record.hpp"

namespace zoq {

ZOQ_BODY trajectory read_trajectory(const std::string& path) {
  require(exists_at(path), path, ": there is no such file");
  trajectory t;
  bool begun = false;
  for_each_line(path, [&](nlohmann::json&& line, std::size_t number) {
    if (!begun) {
      const auto format = line.find("zoq");
      require(format != line.end() && *format == "trajectory.1", path,
              ":1: not the settings of a trajectory");
      t.settings = std::move(line);
      begun = true;
      return;
    }
    const auto step = line.find("step");
    const auto losses = line.find("losses");
    require(step != line.end() && step->is_number_unsigned() && *step == t.losses.size() &&
                losses != line.end() && losses->is_array(),
            path, ":", number, ": wanted the losses of step ", t.losses.size());
    std::vector<answer> answers;
    for (const auto& loss : *losses) {
      require(loss.is_number(), path, ":", number, ": a loss is not a number");
      answers.push_back({loss.get<double>()});
    }
    t.losses.push_back(std::move(answers));
  });
  require(begun, path, ":1: not the settings of a trajectory");
  return t;
}

}  // namespace zoq

#endif
