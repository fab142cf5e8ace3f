// The directions that can be chosen at run time. Visited once for each pass over the k values.
//
//     zoq::any_direction z = zoq::direction_named("rademacher");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <variant>

#include "zoq/core/error.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/rademacher.hpp"

namespace zoq {

using any_direction = std::variant<gaussian, rademacher>;

/// Throws, naming the choices, when there is none of this name.
inline any_direction direction_named(std::string_view name) {
  if (name == gaussian::name) {
    return gaussian{};
  }
  if (name == rademacher::name) {
    return rademacher{};
  }
  fail("unknown direction \"", name, "\": gaussian or rademacher");
}

inline std::string_view name_of(const any_direction& direction) {
  return std::visit([](const auto& z) { return std::string_view(z.name); }, direction);
}

}  // namespace zoq
