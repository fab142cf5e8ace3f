// The directions that can be chosen at run time. Visited once for each pass over the k values.
//
//     zoq::any_direction z = zoq::direction_named("rademacher");
//     z = zoq::direction_at(z, run_seed, step);      // before each step
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <variant>

#include "zoq/random/gaussian.hpp"
#include "zoq/random/lozo.hpp"
#include "zoq/random/rademacher.hpp"
#include "zoq/random/sphere.hpp"
#include "zoq/random/subzero.hpp"

namespace zoq {

/// Any direction of the library.
using any_direction = std::variant<gaussian, rademacher, sphere, lozo, subzero>;

/// Throws, naming the choices, when there is none of this name.
any_direction direction_named(std::string_view name);

/// A direction that keeps a part of itself for `refresh` steps and names it by `frame`.
template <class Z>
concept framed_direction = direction<Z> && requires(Z& z) {
  z.frame = seed_t{0};
  { z.refresh } -> std::convertible_to<std::uint64_t>;
};

/// The direction as it is at a step of a run: with the frame of that step, where it has one. What it
/// computed of a frame stays with it, so pass the last step's. Throws when `refresh` is 0.
any_direction direction_at(any_direction z, seed_t run, std::uint64_t step);

}  // namespace zoq

#if ZOQ_BODIES

#include <utility>

#include "zoq/core/choice.hpp"
#include "zoq/core/error.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY any_direction direction_named(std::string_view name) {
  return choice_named<any_direction>("direction", name);
}

ZOQ_BODY any_direction direction_at(any_direction z, seed_t run, std::uint64_t step) {
  std::visit(
      [&]<class Z>(Z& one) {
        if constexpr (framed_direction<Z>) {
          require(one.refresh > 0, Z::name, ": refresh is 0, wanted at least one step");
          one.frame = derive_seed(run, purpose::frames, step / one.refresh);
        }
      },
      z);
  return z;
}

}  // namespace zoq

#endif
