// What a sparse view adds to one matrix, as data: n values on single entries.
//
//     w[row[j], column[j]] += values[b, first + j]     in branch b
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// One pattern for all branches. Sorted by row, then column.
struct sparse_part {
  tensor_view<const std::int32_t, 1> row;     // [n]
  tensor_view<const std::int32_t, 1> column;  // [n]
  tensor_view<const float, 2> values;         // [branches, k] the whole view's
  index_t first = 0;                          // this matrix's place among the k
};

}  // namespace zoq
