// Loops compiled for an instruction set: what the function object does becomes its SIMD code.
//
//     zoq::detail::run_range(instruction_set::avx2, f, begin, end);   // f(i) for i in [begin, end)
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/exec/instruction_set.hpp"

namespace zoq::detail {

/// A loop for one target: the function object must be inlined to be compiled for it.
#define ZOQ_RANGE(NAME, ...)                                                              \
  template <class F>                                                                      \
  __attribute__((__VA_ARGS__)) inline void NAME(const F& f, index_t begin, index_t end) { \
    for (index_t i = begin; i < end; ++i) {                                               \
      f(i);                                                                               \
    }                                                                                     \
  }
ZOQ_RANGE(run_portable, flatten)
#if defined(__x86_64__)
ZOQ_RANGE(run_avx2, flatten, target("avx2,fma,f16c"))
ZOQ_RANGE(run_avx512, flatten,
          target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,avx2,fma,f16c"))
#endif
#undef ZOQ_RANGE

/// f(i) for i in [begin, end), compiled for `set`, which this machine must have.
template <class F>
void run_range([[maybe_unused]] instruction_set set, const F& f, index_t begin, index_t end) {
#if defined(__x86_64__)
  switch (set) {
    case instruction_set::avx2:
      return run_avx2(f, begin, end);
    case instruction_set::avx512:
    case instruction_set::amx:
      return run_avx512(f, begin, end);
    case instruction_set::portable:
      break;
  }
#endif
  run_portable(f, begin, end);
}

}  // namespace zoq::detail
