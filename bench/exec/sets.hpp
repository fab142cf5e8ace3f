// The instruction sets that this machine can run, for benchmarks that go through all of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>
#include <zoq/exec/instruction_set.hpp>

namespace zoq::bench {

/// From portable to the best. The best is the last of the enumeration that the machine has.
inline std::vector<instruction_set> instruction_sets() {
  std::vector<instruction_set> out;
  for (int i = 0; i <= static_cast<int>(best_instruction_set()); ++i) {
    if (supports(static_cast<instruction_set>(i))) {
      out.push_back(static_cast<instruction_set>(i));
    }
  }
  return out;
}

}  // namespace zoq::bench
