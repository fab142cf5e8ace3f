// The instruction sets that this machine can run, for benchmarks that go through all of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>
#include <zoq/exec/instruction_set.hpp>

namespace zoq::bench {

inline std::vector<instruction_set> instruction_sets() {
  std::vector<instruction_set> out;
  for (const instruction_set set : all_instruction_sets) {
    if (supports(set)) {
      out.push_back(set);
    }
  }
  return out;
}

}  // namespace zoq::bench
