// What attention is asked (ops/attention.hpp), for executors that have a way of their own to answer it.
//
//     exec.attention(attention_task{q, k, v, row_of, layout, out, queries});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/tensor/segment.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// Which rows see which: the segments, and each row's own. In the executor's memory.
struct row_layout {
  tensor_view<const segment, 1> segments;         // [S]
  tensor_view<const std::int32_t, 1> segment_of;  // [T]
};

inline constexpr index_t largest_head = 256;  // coordinates of a head that attention can take

/// All heads of all queries of a packed batch, for every branch.
struct attention_task {
  static constexpr index_t largest = largest_head;  // coordinates

  tensor_view<const float, 3> q;  // [branches * Q, H, D]
  tensor_view<const float, 3> k;  // [branches * T, K, D]
  tensor_view<const float, 3> v;  // [branches * T, K, D]
  const std::int32_t* row_of;     // [Q] the row of each query
  row_layout layout;              // of the T rows
  tensor_view<float, 3> out;      // [branches * Q, H, D]
  index_t queries;                // Q
};

}  // namespace zoq
