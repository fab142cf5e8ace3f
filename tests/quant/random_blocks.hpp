// Blocks of any scheme with random codes, as a file might hold them.
//
//     std::vector<zoq::q4_1::block> blocks = zoq::test::random_blocks<zoq::q4_1>(100, 7);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "random_values.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq::test {

/// Every byte random: scales may be subnormal, infinite or NaN.
template <quant_scheme S>
std::vector<typename S::block> wild_blocks(index_t count, seed_t seed) {
  std::vector<typename S::block> out(static_cast<std::size_t>(count));
  index_t word = 0;
  for (auto& block : out) {
    unsigned char bytes[sizeof block];
    for (unsigned char& byte : bytes) {
      byte = static_cast<unsigned char>(random_word(seed, word++) & 0xffu);
    }
    std::memcpy(&block, bytes, sizeof block);
  }
  return out;
}

/// Random codes, and scales as weights have them: of either sign, 0.01 to 0.02 in magnitude.
template <quant_scheme S>
std::vector<typename S::block> random_blocks(index_t count, seed_t seed) {
  std::vector<typename S::block> out = wild_blocks<S>(count, seed);
  index_t word = 0;
  for (auto& block : out) {
    const double u = static_cast<double>(random_word(seed + 1, word++)) * 0x1p-31 - 1;  // [-1, 1)
    const auto scale = static_cast<float>(std::copysign(0.01 + 0.01 * std::fabs(u), u));
    if constexpr (requires { block.d; }) {
      block.d = to_f16(S::block_size == 256 ? scale / 32 : scale);  // times a step of 6 bits or 7
      if constexpr (requires { block.m; }) {
        block.m = to_f16(-7 * scale);
      }
      if constexpr (requires { block.least; }) {
        block.least = to_f16(scale / 4);
      }
    } else if constexpr (requires { block.largest; }) {
      block.largest = 8 * std::fabs(scale);
    } else if constexpr (S::block_size == 1) {
      typename S::row row;
      S::encode(&scale, nullptr, 1, row, &block);
    }
  }
  return out;
}

/// What rows own, where they own tables: numbers of [-0.15, 0.15).
template <quant_scheme S>
std::vector<typename S::row> random_row_data(index_t count, seed_t seed) {
  std::vector<typename S::row> out(static_cast<std::size_t>(count));
  if constexpr (row_bytes_of<S> != 0) {
    constexpr std::size_t entries = sizeof(out[0].table) / sizeof(float);
    const auto values = uniform(count * static_cast<index_t>(entries), seed, -0.15, 0.15);
    for (std::size_t i = 0; i < values.size(); ++i) {
      out[i / entries].table[i % entries] = values[i];
    }
  }
  return out;
}

/// A matrix that owns its blocks.
template <quant_scheme S>
struct packed_matrix {
  std::vector<typename S::block> blocks;
  std::vector<typename S::row> row_data;  // used where rows own something
  index_t rows = 0, columns = 0;

  packed_matrix(index_t o, index_t c, seed_t seed)
      : blocks(random_blocks<S>(o * (c / S::block_size), seed)),
        row_data(random_row_data<S>(o, seed + 2)),
        rows(o),
        columns(c) {}

  [[nodiscard]] packed_view<S> view() const {
    return {blocks.data(), row_bytes_of<S> == 0 ? nullptr : row_data.data(), {rows, columns}};
  }
  [[nodiscard]] any_packed any() const { return {view()}; }
  [[nodiscard]] std::vector<float> decoded() const {  // [O, C]
    std::vector<float> out(static_cast<std::size_t>(rows * columns));
    for (index_t o = 0; o < rows; ++o) {
      decode_row(view(), o, out.data() + o * columns);
    }
    return out;
  }
};

/// The bits of two values of the same type are equal: NaN equals itself, and -0 is not 0.
inline bool same_bits(const float* a, const float* b, index_t n) {
  return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(float)) == 0;
}

}  // namespace zoq::test
