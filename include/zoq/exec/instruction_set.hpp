// The SIMD variants of the CPU kernels. All are compiled side by side; the best that the machine
// has is chosen at run time, so a program built without -march is as fast as one built with it.
//
//     zoq::instruction_set set = zoq::best_instruction_set();      // avx512 on a Zen 4
//     zoq::instruction_set set = zoq::instruction_set_named("avx2");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq {

/// Variants of the kernels.
enum class instruction_set {
  portable,  // every machine
  avx2,      // with FMA and F16C
  avx512,    // with BW, VL, DQ, BF16 and VNNI
  amx        // tiles beside avx512
};

/// From least to most.
inline constexpr instruction_set all_instruction_sets[] = {
    instruction_set::portable, instruction_set::avx2, instruction_set::avx512,
    instruction_set::amx};

/// As options and messages say it.
constexpr std::string_view name_of(instruction_set set) {
  switch (set) {
    case instruction_set::avx2:
      return "avx2";
    case instruction_set::avx512:
      return "avx512";
    case instruction_set::amx:
      return "amx";
    case instruction_set::portable:
      break;
  }
  return "portable";
}

/// True when this machine can run `set`.
bool supports(instruction_set set);

/// The fastest that this machine has, of those that were measured: amx was not, and must be asked for.
instruction_set best_instruction_set();

/// The variant of this name. Throws when there is none or this machine cannot run it.
instruction_set instruction_set_named(std::string_view name);

}  // namespace zoq

#if ZOQ_BODIES

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

#if defined(__x86_64__)
/// Bit `bit` of ecx (leaf 1) or edx (leaf 7) of the processor's description: what clang 14 cannot be
/// asked by name.
ZOQ_BODY bool has_feature_bit(unsigned leaf, unsigned bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(leaf, 0, &a, &b, &c, &d) != 0 && ((leaf == 1 ? c : d) >> bit & 1U) != 0;
}

/// AMX in the processor, and the kernel's leave to use its tiles, asked for once.
ZOQ_BODY bool may_use_amx() {
#if defined(__linux__)
  static const bool may = [] {
    constexpr long request_permission = 0x1023, tile_data = 18;
    return has_feature_bit(7, 22) && has_feature_bit(7, 24) &&
           syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }();
  return may;
#else
  return false;
#endif
}
#endif

}  // namespace detail

ZOQ_BODY bool supports(instruction_set set) {
#if defined(__x86_64__)
  switch (set) {
    case instruction_set::avx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
             detail::has_feature_bit(1, 29);  // F16C
    case instruction_set::avx512:
      return supports(instruction_set::avx2) && __builtin_cpu_supports("avx512bw") != 0 &&
             __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
             __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("avx512vnni") != 0;
    case instruction_set::amx:
      return supports(instruction_set::avx512) && detail::may_use_amx();
    case instruction_set::portable:
      break;
  }
#endif
  return set == instruction_set::portable;
}

ZOQ_BODY instruction_set best_instruction_set() {
  for (const auto set : {instruction_set::avx512, instruction_set::avx2}) {
    if (supports(set)) {
      return set;
    }
  }
  return instruction_set::portable;
}

ZOQ_BODY instruction_set instruction_set_named(std::string_view name) {
  for (const instruction_set set : all_instruction_sets) {
    if (name == name_of(set)) {
      require(supports(set), "this machine has no ", name);
      return set;
    }
  }
  fail("unknown instruction set \"", name, "\": portable, avx2, avx512 or amx");
}

}  // namespace zoq

#endif
