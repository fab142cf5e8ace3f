// The settings of a run as the first line of its trajectory, and the policies made from them: a
// run and its replay start from the same line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <zoq/core/hash.hpp>
#include <zoq/core/settings.hpp>
#include <zoq/estimate/estimators.hpp>
#include <zoq/io/byte_reader.hpp>
#include <zoq/optim/optimizers.hpp>
#include <zoq/optim/schedule.hpp>
#include <zoq/random/directions.hpp>
#include <zoq/train/step.hpp>

namespace zoq::cli {

/// Reads one member: a text, a number, or a whole one without a sign. Throws, naming the file and the key; JSON's
/// own conversion would cast whatever number is there.
template <class T>
T setting(const nlohmann::json& settings, const char* key, const std::string& source) {
  const auto found = settings.find(key);
  require(found != settings.end(), source, ":1: setting \"", key, "\" is missing");
  bool right = false;
  const char* wanted = "";
  if constexpr (std::is_same_v<T, std::string>) {
    right = found->is_string();
    wanted = "a text";
  } else if constexpr (std::is_floating_point_v<T>) {
    right = found->is_number();
    wanted = "a number";
  } else {
    static_assert(std::is_same_v<T, std::uint64_t>);
    right = found->is_number_unsigned();
    wanted = "a whole number of at least 0";
  }
  require(right, source, ":1: setting \"", key, "\" is ", printable(found->dump()), ", wanted ",
          wanted);
  return found->get<T>();
}

/// The policy whose text is under this key.
template <class Variant>
Variant policy_from(const nlohmann::json& s, const char* key, const std::string& source) {
  const auto text = setting<std::string>(s, key, source);
  try {
    return policy_named<Variant>(key, text);
  } catch (const error& e) {
    fail(source, ":1: ", e.what());
  }
}

inline any_estimator estimator_from(const nlohmann::json& s, const std::string& source) {
  return any_estimator(policy_from<any_estimator::list>(s, "estimator", source));
}

inline any_optimizer optimizer_from(const nlohmann::json& s, const std::string& source) {
  return any_optimizer(policy_from<any_optimizer::list>(s, "optimizer", source));
}

inline recipe recipe_from(const nlohmann::json& s, const std::string& source) {
  return {.steps = setting<std::uint64_t>(s, "steps", source),
          .seed = setting<seed_t>(s, "seed", source),
          .direction = policy_from<any_direction>(s, "direction", source),
          .schedule = policy_from<any_schedule>(s, "schedule", source),
          .clip = setting<double>(s, "clip", source),
          .clip_norm = setting<double>(s, "clip_norm", source)};
}

/// Names a run by its settings.
inline std::string run_name(const nlohmann::json& settings) {
  return content_hash().add(settings.dump()).hex();
}

}  // namespace zoq::cli
