// Exact sums of losses: each loss is rounded once to a multiple of 2^-40 and added as an integer,
// so that any grouping (threads, micro-batches, ranks) gives the same bits.
//
//     total t;  t.add(0.693);  t.add(other_total);  t.mean();
//
// Losses up to 2^20 in magnitude are taken; 2^-40 (1e-12) is far below a float forward's noise.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace zoq {

struct total {
  std::int64_t units = 0;   // of 2^-40
  std::int64_t weight = 0;  // losses added

  /// Throws unless the loss is finite and at most 2^20 in magnitude.
  void add(double loss);

  /// Throws when the sum leaves 64 bits, at 2^23: after millions of losses of a few units.
  void add(const total& other);

  /// The mean loss; 0 of nothing.
  [[nodiscard]] double mean() const;

  bool operator==(const total&) const = default;  // the same sum and count
};

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void total::add(double loss) {
  require(std::fabs(loss) <= 0x1p20, "a loss of ", loss, " is not finite or beyond 2^20");
  add({std::llround(std::ldexp(loss, 40)), 1});
}

ZOQ_BODY void total::add(const total& other) {
  require(!__builtin_add_overflow(units, other.units, &units), "a sum of losses overflows");
  weight += other.weight;
}

ZOQ_BODY double total::mean() const {
  return weight == 0 ? 0.0
                     : std::ldexp(static_cast<double>(units), -40) / static_cast<double>(weight);
}

}  // namespace zoq

#endif
