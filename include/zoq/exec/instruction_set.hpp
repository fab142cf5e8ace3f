// The SIMD variants of the CPU kernels. All are compiled side by side; the best that the machine
// has is chosen at run time, so a program built without -march is as fast as one built with it.
//
//     zoq::instruction_set set = zoq::best_instruction_set();      // avx512 on a Zen 4
//     zoq::instruction_set set = zoq::instruction_set_named("avx2");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/error.hpp"

namespace zoq {

enum class instruction_set { portable, avx2, avx512 };

constexpr std::string_view name_of(instruction_set set) {
  switch (set) {
    case instruction_set::avx2:
      return "avx2";
    case instruction_set::avx512:
      return "avx512";
    case instruction_set::portable:
      break;
  }
  return "portable";
}

/// True when this machine can run `set`.
inline bool supports(instruction_set set) {
#if defined(__x86_64__)
  switch (set) {
    case instruction_set::avx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
             __builtin_cpu_supports("f16c") != 0;
    case instruction_set::avx512:
      return supports(instruction_set::avx2) && __builtin_cpu_supports("avx512bw") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512bf16") != 0;
    case instruction_set::portable:
      break;
  }
#endif
  return set == instruction_set::portable;
}

inline instruction_set best_instruction_set() {
  for (const auto set : {instruction_set::avx512, instruction_set::avx2}) {
    if (supports(set)) {
      return set;
    }
  }
  return instruction_set::portable;
}

/// The variant of this name. Throws when there is none or this machine cannot run it.
inline instruction_set instruction_set_named(std::string_view name) {
  for (const auto set :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    if (name == name_of(set)) {
      require(supports(set), "this machine has no ", name);
      return set;
    }
  }
  fail("unknown instruction set \"", name, "\": portable, avx2 or avx512");
}

}  // namespace zoq
