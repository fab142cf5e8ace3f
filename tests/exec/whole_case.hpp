// Whole numbers that every compute policy multiplies exactly: any order of sums, any rounding of
// inputs and weights, any cut of the work must give the same floats as plain loops over integers.
//
//     std::vector<float> x = whole_rows(rows, columns, seed);
//     packed_matrix<zoq::q4_1> w = whole_weights<zoq::q4_1>(outputs, columns, seed);
//     CHECK(found == whole_product(x, w.decoded(), rows, outputs, columns));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "quant/random_blocks.hpp"
#include "random_values.hpp"
#include "zoq/core/half.hpp"

namespace zoq::test {

/// Whole numbers in [-3, 3], but for one of +-127 among each 64 of a row, or among what is left of
/// it: so the 8-bit scale of every block is 1. All have at most 8 bits, as bfloat16 has. A sum of 8000
/// products, weights of whole_weights included, stays below 2^23.
inline std::vector<float> whole_rows(index_t rows, index_t columns, seed_t seed) {
  std::vector<float> out = whole_numbers(rows * columns, seed, 3);
  for (index_t r = 0; r < rows; ++r) {
    for (index_t c = 0; c < columns; c += 64) {
      const std::uint32_t word = random_word(seed + 1, r * columns + c);
      const index_t place = c + word / 2 % std::min<index_t>(64, columns - c);
      out[static_cast<std::size_t>(r * columns + place)] = word % 2 == 0 ? 127.0f : -127.0f;
    }
  }
  return out;
}

/// Weights that are whole numbers, the largest of each block of codes, or of each 64, +-127: q8_0 in
/// [-127, 127], q4_1 in [112, 127], q4_0 of 0 and -127, others as in whole_rows.
template <quant_scheme S>
packed_matrix<S> whole_weights(index_t outputs, index_t columns, seed_t seed) {
  packed_matrix<S> w(outputs, columns, seed);
  if constexpr (std::is_same_v<S, q8_0>) {
    for (auto& block : w.blocks) {
      block.d = to_f16(1);
      for (auto& q : block.q) {
        q = std::max<std::int8_t>(q, -127);
      }
      block.q[0] = 127;
    }
  } else if constexpr (std::is_same_v<S, q4_1>) {
    for (auto& block : w.blocks) {
      block.d = to_f16(1);
      block.m = to_f16(112);
      block.q[0] |= 15;
    }
  } else if constexpr (std::is_same_v<S, q4_0>) {
    for (auto& block : w.blocks) {
      block.d = to_f16(127.0f / 8);
      for (auto& q : block.q) {
        q &= 0x88;  // codes 0 and 8
      }
    }
  } else {
    static_assert(S::block_size == 1);
    const std::vector<float> values = whole_rows(outputs, columns, seed);
    typename S::row row;
    S::encode(values.data(), nullptr, outputs * columns, row, w.blocks.data());
  }
  return w;
}

/// x W^T of whole numbers. x: [R, C], w: [O, C], result [R, O].
inline std::vector<float> whole_product(const std::vector<float>& x, const std::vector<float>& w,
                                        index_t rows, index_t outputs, index_t columns) {
  const auto whole = [](const std::vector<float>& from) {
    std::vector<std::int32_t> out;
    for (const float v : from) {
      out.push_back(static_cast<std::int32_t>(v));
    }
    return out;
  };
  const std::vector<std::int32_t> a = whole(x), b = whole(w);
  std::vector<float> y;
  for (index_t r = 0; r < rows; ++r) {
    for (index_t o = 0; o < outputs; ++o) {
      std::int32_t sum = 0;
      for (index_t c = 0; c < columns; ++c) {
        sum += a[static_cast<std::size_t>(r * columns + c)] *
               b[static_cast<std::size_t>(o * columns + c)];
      }
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

/// Branches of `rows` rows each that are pairs: the second of two is the first and a difference, both
/// whole_rows. [branches * rows, columns]
inline std::vector<float> whole_pairs(index_t branches, index_t rows, index_t columns,
                                      seed_t seed) {
  std::vector<float> x = whole_rows(branches * rows, columns, seed);
  const auto size = static_cast<std::size_t>(rows * columns);
  for (std::size_t b = 1; b < static_cast<std::size_t>(branches); b += 2) {
    for (std::size_t i = 0; i < size; ++i) {
      x[b * size + i] += x[(b - 1) * size + i];
    }
  }
  return x;
}

}  // namespace zoq::test
