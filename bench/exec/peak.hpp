// The peak of this machine's dot products: multiply-adds that wait for nothing but themselves, from
// registers alone. What a matrix product can reach at most; measured, because clocks differ by
// machine, by width and by hour.
//
//     double top = zoq::bench::peak(zoq::instruction_set::avx512, zoq::compute::bf16);   // one thread
//     double both = zoq::bench::peak(set, products, 2);     // two threads at the same time, together
//
// Operations a second; a multiply-add is two. Measure it right before or after what is compared with
// it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <string_view>
#include <thread>
#include <vector>
#include <zoq/exec/compute.hpp>
#include <zoq/exec/instruction_set.hpp>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace zoq::bench {

/// Seconds that this thread has run: what other programs take from its core does not count.
inline double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// What was done in what time.
struct work_done {
  double operations = 0, seconds = 0;
};

namespace detail {

// More chains than a multiply-add's latency (4 or 5 cycles) times the units that start one each cycle (2).
inline constexpr int peak_rounds = 40000;

#if defined(__x86_64__)
#ifdef __clang__
#define ZOQ_PEAK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ZOQ_PEAK_UNROLL _Pragma("GCC unroll 24")
#endif
// One loop for each instruction, sum = sum + x . x. In assembly, because g++ 12 moves the sums of some
// intrinsics from register to register and to memory.
#define ZOQ_PEAK(NAME, TARGET, VECTOR, CHAINS, INSTRUCTION, OPERATIONS)               \
  __attribute__((target(TARGET))) inline work_done NAME() {                           \
    VECTOR sum[CHAINS] = {}, x = {};                                                  \
    const double start = thread_seconds();                                            \
    for (int r = 0; r < peak_rounds; ++r) {                                           \
      ZOQ_PEAK_UNROLL for (int c = 0; c < (CHAINS); ++c) {                            \
        asm volatile(INSTRUCTION " %1, %1, %0" : "+v"(sum[c]) : "v"(x));              \
      }                                                                               \
    }                                                                                 \
    return {double{peak_rounds} * (CHAINS) * (OPERATIONS), thread_seconds() - start}; \
  }
ZOQ_PEAK(f32_avx512, "avx512f", __m512, 24, "vfmadd231ps", 32)
ZOQ_PEAK(bf16_avx512, "avx512f,avx512bf16", __m512, 24, "vdpbf16ps", 64)
ZOQ_PEAK(i8_avx512, "avx512f,avx512vnni", __m512i, 24, "vpdpbusd", 128)
ZOQ_PEAK(f32_avx2, "avx2,fma", __m256, 12, "vfmadd231ps", 16)
#undef ZOQ_PEAK
#undef ZOQ_PEAK_UNROLL
#endif

using peak_loop = work_done (*)();

/// The loop of the instruction that this set multiplies with, or null when it is not known here.
inline peak_loop loop_of(instruction_set set, std::string_view products) {
#if defined(__x86_64__)
  if (set == instruction_set::avx512) {
    if (products == "i8") {
      return __builtin_cpu_supports("avx512vnni") != 0 ? i8_avx512 : nullptr;
    }
    return products == "bf16" ? bf16_avx512 : f32_avx512;
  }
  if (set == instruction_set::avx2 && products != "i8") {
    return f32_avx2;  // bf16 there is floats that were rounded before
  }
#endif
  static_cast<void>(set);
  static_cast<void>(products);
  return nullptr;
}

}  // namespace detail

/// Operations a second of `threads` threads at the same time; 0 where it is not known how to measure.
/// Takes about a tenth of a millisecond.
inline double peak(instruction_set set, compute products, int threads = 1) {
  const detail::peak_loop loop = supports(set) ? detail::loop_of(set, name_of(products)) : nullptr;
  if (loop == nullptr) {
    return 0;
  }
  std::vector<work_done> done(static_cast<std::size_t>(threads));
  std::vector<std::thread> others;
  for (std::size_t t = 1; t < done.size(); ++t) {
    others.emplace_back([&, t] { done[t] = loop(); });
  }
  done[0] = loop();
  for (std::thread& t : others) {
    t.join();
  }
  double sum = 0;
  for (const work_done& one : done) {
    sum += one.operations / one.seconds;
  }
  return sum;
}

}  // namespace zoq::bench
