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

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/directions.hpp"

namespace zoq {

struct query {
  static constexpr std::uint64_t this_batch = ~std::uint64_t{0};  // the batch of the step

  seed_t seed = 0;                   // of the direction
  double scale = 0;                  // how far along it; negative: the other way
  const float* shape = nullptr;      // [k] or none, in the executor's memory
  const float* origin = nullptr;     // [k] or none: the values as they are now
  std::uint64_t batch = this_batch;  // its number: that of the step that takes it
};

/// True when a and b are the two ends of one probe: opposite steps along one direction.
inline bool opposite(const query& a, const query& b) {
  return a.seed == b.seed && a.scale == -b.scale && a.scale != 0 && a.shape == b.shape &&
         a.origin == b.origin && a.batch == b.batch;
}

/// True when they are pairs of opposite ones: 0 and 1, 2 and 3, and so on. None are.
bool all_opposite(std::span<const query> asked);

/// How many queries from the first one on are evaluated together: at most `most`, all on one batch,
/// and either all of them single points or all whole pairs of opposite ones, whatever `most` is. So
/// what is rounded together does not depend on how many branches are stacked.
std::size_t evaluated_together(std::span<const query> asked, std::size_t most);

/// What comes back for a query.
struct answer {
  double loss = 0;  // mean over the rows of the batch
};

/// One direction of a gradient, with its weight.
struct term {
  static constexpr std::uint64_t this_step = ~std::uint64_t{0};  // the step of the gradient

  seed_t seed = 0;                 // of the direction
  double weight = 0;               // factor on the direction
  const float* shape = nullptr;    // [k] or none
  std::uint64_t step = this_step;  // of an earlier estimate: along the direction of that step
};

/// An estimate, as data.
struct gradient {
  std::vector<term> terms;  // their sum is the gradient
  double loss = 0;          // at or near the values
  double slope = 0;         // along the (last) direction
};

/// Where the run stands.
struct step_info {
  std::uint64_t step = 0;                    // its number, from 0
  seed_t seed = 0;                           // of this step's directions
  const float* values = nullptr;             // [k]
  value_order order;                         // of the values
  const any_direction* direction = nullptr;  // at this step
  double rate = 0;  // of the optimizer, with the schedule's factor; 0 where it names none
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>

namespace zoq {

ZOQ_BODY std::size_t evaluated_together(std::span<const query> asked, std::size_t most) {
  const auto pair_at = [&](std::size_t i) {
    return i + 1 < asked.size() && opposite(asked[i], asked[i + 1]);
  };
  const bool pairs = pair_at(0);
  const std::size_t unit = pairs ? 2 : 1;
  std::size_t n = unit;
  while (n + unit <= std::max(most, unit) && n < asked.size() && asked[n].batch == asked[0].batch &&
         pair_at(n) == pairs) {
    n += unit;
  }
  return n;
}

ZOQ_BODY bool all_opposite(std::span<const query> asked) {
  bool pairs = asked.size() % 2 == 0;
  for (std::size_t b = 0; pairs && b < asked.size(); b += 2) {
    pairs = opposite(asked[b], asked[b + 1]);
  }
  return pairs;
}

}  // namespace zoq

#endif
