// What low-rank directions need to know of an order: which matrix an element belongs to.
//
//     zoq::require_matrices(order, "lozo");
//     const extent* t = zoq::extent_at(order.tensors, order.count, element);
//
// A tensor of one row or one column (a norm, a bias, the values of a sparse mask) has no low rank:
// there such a direction is standard normal.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/random/direction.hpp"

namespace zoq {

ZOQ_HD inline bool is_matrix(const extent& t) { return t.rows > 1 && t.columns > 1; }

/// The last tensor that starts at or before `element`; `tensors` is sorted by its first. Cost: log2.
ZOQ_HD inline const extent* extent_at(const extent* tensors, index_t count, index_t element) {
  index_t low = 0;
  for (index_t high = count; high - low > 1;) {
    const index_t middle = low + (high - low) / 2;
    (tensors[middle].first <= element ? low : high) = middle;
  }
  return tensors + low;
}

/// Throws, naming the direction and what to use instead, when no tensor of the order is a matrix,
/// when the values have keys, or when the loops cannot read the host's memory.
inline void require_matrices(const value_order& order, std::string_view direction) {
  constexpr const char* instead = "; use gaussian, rademacher or sphere";
  require(order.on_host, direction, ": its tables are in the host's memory, the values on a device",
          instead);
  require(order.key == nullptr, direction, ": the values are a selection, which has no low rank",
          instead);
  bool any = false;
  for (index_t t = 0; t < order.count; ++t) {
    any = any || is_matrix(order.tensors[t]);
  }
  require(any, direction, ": none of the ", order.count,
          " tensors of the view is a matrix (a sparse mask's values are single rows)", instead);
}

}  // namespace zoq
