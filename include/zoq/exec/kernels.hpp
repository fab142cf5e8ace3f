// The CPU kernels of every instruction set, side by side. Each set has its own namespace, so that
// translation units built with different flags can never merge or mix them.
//
//     zoq::detail::avx2::multiply_panel(avx2::f32_products{}, source, first, x, x_stride, {0, rows},
//                                        y, nothing_added{});
//
// Target attributes stand on the functions themselves: no -march is needed, and none is allowed in
// zoq's own targets.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/core/math.hpp"
#include "zoq/exec/panel.hpp"
#include "zoq/quant/float_formats.hpp"
#include "zoq/quant/q4_0.hpp"
#include "zoq/quant/q4_1.hpp"
#include "zoq/quant/q8_0.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/attention_task.hpp"

/// Before a loop of constant turns.
#ifdef __clang__
#define ZOQ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ZOQ_UNROLL _Pragma("GCC unroll 16")
#endif
/// Decoders and function objects must be inlined to be compiled for the target.
#define ZOQ_FLATTEN __attribute__((flatten))

namespace zoq::detail::portable {

/// Before a function of the set.
#define ZOQ_TARGET
/// Floats of a vector.
#define ZOQ_LANES 4
/// Rows of a tile.
#define ZOQ_ROWS 4
/// Vectors of outputs of a tile.
#define ZOQ_VECS 2
typedef float vec __attribute__((vector_size(16)));  // NOLINT: no `using` in older compilers
inline vec load(const float* p) { return vec{p[0], p[1], p[2], p[3]}; }
inline void store(float* p, vec v) { __builtin_memcpy(p, &v, sizeof v); }
inline vec broadcast(float x) { return vec{x, x, x, x}; }
inline vec add(vec a, vec b) { return a + b; }
inline vec multiply_add(vec a, vec b, vec sum) { return a * b + sum; }
inline vec larger(vec a, vec b) { return a > b ? a : b; }
inline vec zero_unless(bool keep, vec v) { return keep ? v : vec{}; }
template <class Get, class Put>
inline void turn_vectors(Get get, Put put) {
  const vec row[4] = {get(0), get(1), get(2), get(3)};
  for (int j = 0; j < 4; ++j) {
    put(j, vec{row[0][j], row[1][j], row[2][j], row[3][j]});
  }
}
#include "zoq/exec/kernels.inl"

#include "zoq/exec/added.inl"
#include "zoq/exec/attention.inl"
#undef ZOQ_TARGET
#undef ZOQ_LANES
#undef ZOQ_ROWS
#undef ZOQ_VECS

}  // namespace zoq::detail::portable

#if defined(__x86_64__)
namespace zoq::detail::avx2 {

#define ZOQ_TARGET __attribute__((target("avx2,fma,f16c")))
#define ZOQ_LANES 8
#define ZOQ_ROWS 6  // 12 sums + 2 weights + 1 input of 16 registers
#define ZOQ_VECS 2
using vec = __m256;
ZOQ_TARGET inline vec load(const float* p) { return _mm256_loadu_ps(p); }
ZOQ_TARGET inline void store(float* p, vec v) { _mm256_storeu_ps(p, v); }
ZOQ_TARGET inline vec broadcast(float x) { return _mm256_set1_ps(x); }
ZOQ_TARGET inline vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
ZOQ_TARGET inline vec multiply_add(vec a, vec b, vec sum) { return _mm256_fmadd_ps(a, b, sum); }
ZOQ_TARGET inline vec larger(vec a, vec b) { return _mm256_max_ps(a, b); }
ZOQ_TARGET inline vec zero_unless(bool keep, vec v) {
  return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(-static_cast<int>(keep))));
}
template <class Get, class Put>
ZOQ_TARGET inline void turn_vectors(Get get, Put put) {
  __m256 row[8], pair[8], quad[8];
  ZOQ_UNROLL for (int i = 0; i < 8; ++i) { row[i] = get(i); }
  ZOQ_UNROLL for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
    pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
  }
  ZOQ_UNROLL for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
    quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
  }
  ZOQ_UNROLL for (int i = 0; i < 4; ++i) {
    put(i, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20));
    put(i + 4, _mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31));
  }
}
#define ZOQ_HAS_I8_PRODUCTS
#include "zoq/exec/kernels.inl"

#include "zoq/exec/added.inl"
#include "zoq/exec/attention.inl"
#undef ZOQ_HAS_I8_PRODUCTS
#include "zoq/exec/i8_avx2.inl"
#undef ZOQ_TARGET
#undef ZOQ_LANES
#undef ZOQ_ROWS
#undef ZOQ_VECS

}  // namespace zoq::detail::avx2

namespace zoq::detail::avx512 {

#define ZOQ_TARGET                                                       \
  __attribute__((                                                        \
      target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni," \
             "avx2,fma,f16c")))
#define ZOQ_LANES 16
#define ZOQ_ROWS 6  // 24 sums + 4 weights + 1 input of 32 registers
#define ZOQ_VECS 4
using vec = __m512;
// Intrinsics that leave lanes undefined make g++ 12 warn in the user's code: those with a mask of
// all lanes compile to the same instructions and do not.
inline constexpr __mmask16 every = 0xffff;
inline constexpr __mmask8 every_other = 0xff;  // of lanes of 64 bits
inline constexpr __mmask32 every_half = 0xffffffff;
ZOQ_TARGET inline vec load(const float* p) { return _mm512_loadu_ps(p); }
ZOQ_TARGET inline void store(float* p, vec v) { _mm512_storeu_ps(p, v); }
ZOQ_TARGET inline vec broadcast(float x) { return _mm512_set1_ps(x); }
ZOQ_TARGET inline vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
ZOQ_TARGET inline vec multiply_add(vec a, vec b, vec sum) { return _mm512_fmadd_ps(a, b, sum); }
ZOQ_TARGET inline vec larger(vec a, vec b) { return _mm512_maskz_max_ps(every, a, b); }
ZOQ_TARGET inline vec zero_unless(bool keep, vec v) {
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(-static_cast<int>(keep)), v);
}
template <class Get, class Put>
ZOQ_TARGET inline void turn_vectors(Get get, Put put) {
  __m512 row[16], pair[16],
      quad[16];  // quad[4 g + c]: columns c, 4 + c, ... of rows 4 g to 4 g + 3
  ZOQ_UNROLL for (int i = 0; i < 16; ++i) { row[i] = get(i); }
  ZOQ_UNROLL for (int i = 0; i < 16; i += 2) {
    pair[i] = _mm512_maskz_unpacklo_ps(every, row[i], row[i + 1]);
    pair[i + 1] = _mm512_maskz_unpackhi_ps(every, row[i], row[i + 1]);
  }
  ZOQ_UNROLL for (int i = 0; i < 16; i += 4) {
    quad[i] = _mm512_maskz_shuffle_ps(every, pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm512_maskz_shuffle_ps(every, pair[i], pair[i + 2], 0xee);
    quad[i + 2] = _mm512_maskz_shuffle_ps(every, pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm512_maskz_shuffle_ps(every, pair[i + 1], pair[i + 3], 0xee);
  }
  ZOQ_UNROLL for (int c = 0; c < 4; ++c) {
    const __m512 low01 = _mm512_maskz_shuffle_f32x4(every, quad[c], quad[c + 4], 0x44);
    const __m512 high01 = _mm512_maskz_shuffle_f32x4(every, quad[c], quad[c + 4], 0xee);
    const __m512 low23 = _mm512_maskz_shuffle_f32x4(every, quad[c + 8], quad[c + 12], 0x44);
    const __m512 high23 = _mm512_maskz_shuffle_f32x4(every, quad[c + 8], quad[c + 12], 0xee);
    put(c, _mm512_maskz_shuffle_f32x4(every, low01, low23, 0x88));
    put(c + 4, _mm512_maskz_shuffle_f32x4(every, low01, low23, 0xdd));
    put(c + 8, _mm512_maskz_shuffle_f32x4(every, high01, high23, 0x88));
    put(c + 12, _mm512_maskz_shuffle_f32x4(every, high01, high23, 0xdd));
  }
}
#include "zoq/exec/decode_avx512.inl"
#define ZOQ_HAS_BF16_PRODUCTS
#define ZOQ_HAS_I8_PRODUCTS
#include "zoq/exec/kernels.inl"

#include "zoq/exec/added.inl"
#include "zoq/exec/attention.inl"
#undef ZOQ_HAS_BF16_PRODUCTS
#undef ZOQ_HAS_I8_PRODUCTS
#include "zoq/exec/bf16_avx512.inl"
#include "zoq/exec/i8_avx512.inl"
#include "zoq/exec/tiles_amx.inl"
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
