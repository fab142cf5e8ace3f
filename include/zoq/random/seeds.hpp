// Seeds derived from one run seed: every purpose and number has its own, so that no two random
// choices of a run ever share a field.
//
//     seed_t s = zoq::derive_seed(run_seed, zoq::purpose::directions, step);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// What a seed is for.
enum class purpose : std::uint64_t {
  directions = 1,    // the step's directions
  probes = 2,        // the directions of further probes of a step
  rows = 3,          // the order of the rows in an epoch
  windows = 4,       // which windows of a text are scored
  masks = 5,         // random masks
  sampling = 6,      // generated tokens
  frames = 7,        // the part of a direction that is fixed for a while
  start_values = 8,  // of a view, and what it keeps frozen
};

/// The first two Philox words at (run, number, purpose). For fixed (run, purpose) different numbers
/// collide with the chance of random 64-bit words only: about n^2 / 2^65 for n numbers.
seed_t derive_seed(seed_t run, purpose what, std::uint64_t number);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/random/philox.hpp"

namespace zoq {

ZOQ_BODY seed_t derive_seed(seed_t run, purpose what, std::uint64_t number) {
  const words4 w = philox(run, number, static_cast<std::uint64_t>(what) << 32);
  return static_cast<seed_t>(w.at[0]) | static_cast<seed_t>(w.at[1]) << 32;
}

}  // namespace zoq

#endif
