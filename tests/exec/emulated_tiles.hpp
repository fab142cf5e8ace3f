// AMX's tiles as their manual describes them, in plain loops: so that what is written around them is
// tested on machines that have none.
//
//     using products = zoq::detail::avx512::amx_products<zoq::test::emulated_tiles>;
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"

namespace zoq::test {

struct emulated_tiles {
  static inline float sum[32][32];
  static inline index_t rows = 0;

  static void start(index_t low, index_t high) {
    REQUIRE((low >= 1 && low <= 16 && high >= 0 && high <= 16 && (high == 0 || low == 16)));
    rows = low + high;
    std::fill(&sum[0][0], &sum[0][0] + 32 * 32, 0.0f);
  }
  static float value(std::uint32_t pair, int which) {
    return zoq::to_float(zoq::bf16{static_cast<std::uint16_t>(pair >> (16 * which))});
  }
  static void add(index_t, const void* inputs, index_t input_stride, const float* weights,
                  index_t weight_stride) {
    for (index_t m = 0; m < rows; ++m) {
      for (index_t n = 0; n < 32; ++n) {
        for (index_t k = 0; k < 16; ++k) {
          std::uint32_t a, b;
          std::memcpy(&a, static_cast<const char*>(inputs) + m * input_stride + 4 * k, 4);
          std::memcpy(&b, reinterpret_cast<const char*>(weights) + k * weight_stride + 4 * n, 4);
          sum[m][n] += value(a, 0) * value(b, 0);
          sum[m][n] += value(a, 1) * value(b, 1);
        }
      }
    }
  }
  static void finish(index_t, float* sums) { std::copy_n(&sum[0][0], rows * 32, sums); }
};

}  // namespace zoq::test
