// The words in which an estimator speaks with whatever computes losses.
//
//     query:    the loss is wanted at  origin + scale * shape * z(seed),  on this batch
//     answer:   the loss there
//     gradient: sum over terms of  weight * shape * z(seed)
//
// Nothing but seeds and scalars: a step costs the memory of inference, and a record of a few bytes
// replays it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"

namespace zoq {

struct query {
  static constexpr std::uint64_t this_batch = ~std::uint64_t{0};

  seed_t seed = 0;
  double scale = 0;
  const float* shape = nullptr;   // [k] or none, in the executor's memory
  const float* origin = nullptr;  // [k] or none: the values as they are now
  std::uint64_t batch = this_batch;
};

struct answer {
  double loss = 0;
};

struct term {
  seed_t seed = 0;
  double weight = 0;
  const float* shape = nullptr;  // [k] or none
};

struct gradient {
  std::vector<term> terms;
  double loss = 0;   // at or near the values
  double slope = 0;  // along the (last) direction
};

/// Where the run stands.
struct step_info {
  std::uint64_t step = 0;
  seed_t seed = 0;                // of this step's directions
  const float* values = nullptr;  // [k]
  value_order order;
};

}  // namespace zoq
