// The directions that can be chosen at run time. Visited once for each pass over the k values.
//
//     zoq::any_direction z = zoq::direction_named("rademacher");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <variant>

#include "zoq/core/choice.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/rademacher.hpp"

namespace zoq {

using any_direction = std::variant<gaussian, rademacher>;

/// Throws, naming the choices, when there is none of this name.
inline any_direction direction_named(std::string_view name) {
  return choice_named<any_direction>("direction", name);
}

}  // namespace zoq
