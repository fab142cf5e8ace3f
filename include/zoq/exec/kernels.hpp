// The CPU kernels of every instruction set, side by side. Each set has its own namespace, so that
// translation units built with different flags can never merge or mix them.
//
//     zoq::detail::avx2::multiply_panel(source, first, x, x_stride, rows, y, y_stride);
//
// Target attributes stand on the functions themselves: no -march is needed, and none is allowed in
// zoq's own targets.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "zoq/core/config.hpp"
#include "zoq/exec/panel.hpp"

#ifdef __clang__
#define ZOQ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ZOQ_UNROLL _Pragma("GCC unroll 16")
#endif
// Decoders and function objects must be inlined to be compiled for the target.
#define ZOQ_FLATTEN __attribute__((flatten))

namespace zoq::detail::portable {

#define ZOQ_TARGET
#define ZOQ_LANES 4
#define ZOQ_ROWS 4
#define ZOQ_VECS 2
struct vec {
  float at[4];
};
inline vec load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline void store(float* p, const vec& v) { std::copy_n(v.at, 4, p); }
inline vec broadcast(float x) { return {{x, x, x, x}}; }
inline vec multiply_add(const vec& a, const vec& b, vec sum) {
  for (int i = 0; i < 4; ++i) {
    sum.at[i] += a.at[i] * b.at[i];
  }
  return sum;
}
#include "zoq/exec/kernels.inl"
#undef ZOQ_TARGET
#undef ZOQ_LANES
#undef ZOQ_ROWS
#undef ZOQ_VECS

}  // namespace zoq::detail::portable

#if defined(__x86_64__)
namespace zoq::detail::avx2 {

#define ZOQ_TARGET __attribute__((target("avx2,fma")))
#define ZOQ_LANES 8
#define ZOQ_ROWS 6  // 12 sums + 2 weights + 1 input of 16 registers
#define ZOQ_VECS 2
using vec = __m256;
ZOQ_TARGET inline vec load(const float* p) { return _mm256_loadu_ps(p); }
ZOQ_TARGET inline void store(float* p, vec v) { _mm256_storeu_ps(p, v); }
ZOQ_TARGET inline vec broadcast(float x) { return _mm256_set1_ps(x); }
ZOQ_TARGET inline vec multiply_add(vec a, vec b, vec sum) { return _mm256_fmadd_ps(a, b, sum); }
#include "zoq/exec/kernels.inl"
#undef ZOQ_TARGET
#undef ZOQ_LANES
#undef ZOQ_ROWS
#undef ZOQ_VECS

}  // namespace zoq::detail::avx2

namespace zoq::detail::avx512 {

#define ZOQ_TARGET __attribute__((target("avx512f,avx2,fma")))
#define ZOQ_LANES 16
#define ZOQ_ROWS 6  // 24 sums + 4 weights + 1 input of 32 registers
#define ZOQ_VECS 4
using vec = __m512;
ZOQ_TARGET inline vec load(const float* p) { return _mm512_loadu_ps(p); }
ZOQ_TARGET inline void store(float* p, vec v) { _mm512_storeu_ps(p, v); }
ZOQ_TARGET inline vec broadcast(float x) { return _mm512_set1_ps(x); }
ZOQ_TARGET inline vec multiply_add(vec a, vec b, vec sum) { return _mm512_fmadd_ps(a, b, sum); }
#include "zoq/exec/kernels.inl"
#undef ZOQ_TARGET
#undef ZOQ_LANES
#undef ZOQ_ROWS
#undef ZOQ_VECS

}  // namespace zoq::detail::avx512
#else
namespace zoq::detail {
namespace avx2 = portable;
namespace avx512 = portable;
}  // namespace zoq::detail
#endif

#undef ZOQ_UNROLL
#undef ZOQ_FLATTEN
