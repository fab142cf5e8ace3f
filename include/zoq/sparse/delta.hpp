// A delta: one float for each place of a mask. What tuning a sparse view leaves behind.
//
//     zoq::delta d = view.to_delta();    // d.places.count() == d.values.size()
//
// The weight in use is decode(base) + value at these places. Files of deltas: view/delta.hpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "zoq/sparse/mask.hpp"

namespace zoq {

struct delta {
  mask places;                // that have a value
  std::vector<float> values;  // [k], in the order of the places
};

}  // namespace zoq
