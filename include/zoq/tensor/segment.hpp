// Packed sequences: many texts of different lengths stand one after another in the rows of one
// tensor, without padding. A segment is one run of rows; an answer option's parent is its prompt.
//
//     {first = 0, count = 7, parent = -1, position = 0}    a prompt of 7 tokens
//     {first = 7, count = 2, parent =  0, position = 7}    an option that goes on after it
//
// A row sees the rows before it in its segment and all rows of the parent, the parent's parent, ...
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"

namespace zoq {

struct segment {
  index_t first = 0;     // row of its first token
  index_t count = 0;     // tokens
  index_t parent = -1;   // an earlier segment that is seen whole, or -1
  index_t position = 0;  // position of its first token: tokens in its ancestors
};

}  // namespace zoq
