// The settings of a run as the first line of its trajectory, and the policies made from them: a
// run and its replay start from the same line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <zoq/core/hash.hpp>
#include <zoq/estimate/estimators.hpp>
#include <zoq/optim/schedule.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/random/directions.hpp>
#include <zoq/train/step.hpp>

namespace zoq::cli {

/// Reads one member. Throws, naming the file and the key.
template <class T>
T setting(const nlohmann::json& settings, const char* key, const std::string& source) {
  try {
    return settings.at(key).get<T>();
  } catch (const nlohmann::json::exception&) {
    fail(source, ":1: setting \"", key, "\" is missing or of another type");
  }
}

inline any_estimator estimator_from(const nlohmann::json& s, const std::string& source) {
  return estimator_named(
      setting<std::string>(s, "estimator", source),
      {setting<double>(s, "epsilon", source), setting<int>(s, "probes", source)});
}

inline sgd optimizer_from(const nlohmann::json& s, const std::string& source) {
  const auto name = setting<std::string>(s, "optimizer", source);
  require(name == sgd::name, source, ":1: optimizer \"", name, "\" is not known");
  return {.rate = setting<double>(s, "learning_rate", source)};
}

inline recipe recipe_from(const nlohmann::json& s, const std::string& source) {
  return {setting<std::uint64_t>(s, "steps", source), setting<seed_t>(s, "seed", source),
          direction_named(setting<std::string>(s, "direction", source)),
          schedule_named(setting<std::string>(s, "schedule", source))};
}

/// Names a run by its settings.
inline std::string run_name(const nlohmann::json& settings) {
  return content_hash().add(settings.dump()).hex();
}

}  // namespace zoq::cli
