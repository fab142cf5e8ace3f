// How the rows of an activation are stacked: branch-major, row b * T + t is row t of branch b.
//
//     branch_stack stack{.count = 4, .pairs = true};     // w + e z, w - e z, w + e z', w - e z'
//
// Branches 2 p and 2 p + 1 of a stack of pairs differ little, being the two ends of one probe. A
// compute policy that rounds its inputs then rounds the first of the two and their difference: what
// rounding does to the first it does to both, and leaves the difference of their losses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"

namespace zoq {

struct branch_stack {
  index_t count = 1;   // branches
  bool pairs = false;  // of branches 2 p and 2 p + 1; count is even
};

}  // namespace zoq
