// How far the product of a compute policy may be from the exact one, element by element.
//
//     std::vector<double> allowed = rounding_bounds(zoq::compute::i8, w, x, rows);
//     CHECK(errs_within(found, exact, allowed));
//
// With S = sum |x w| over C columns:
//
//     f32    (C + 4) 2^-24 S: a float sum of C products in any order, and what the oracle rounds
//     bf16   (2 2^-8 + 2^-16) S more: each factor is rounded to 8 bits, half a unit of them is 2^-8
//     i8     an input is off by half a step max |x| / 127 of its 64 columns, a weight by half a step
//            of its own: max |w| / 127, or of q8_0 the larger of two scales
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "quant/random_blocks.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/compute.hpp"

namespace zoq::test {

/// By how much 8 bits may be off whose scale fits `largest`: the factor is rounded too, and what it
/// makes of a value, by 127 2^-22 of a step.
inline double half_step(double largest) { return 0.5001 * largest / 127; }

/// The same of the 64 weights of row o from column `first` on.
template <quant_scheme S>
double weight_error(const packed_matrix<S>& w, const float* decoded, index_t o, index_t first) {
  const auto size_of = [](float v) { return std::fabs(static_cast<double>(v)); };
  const index_t end = std::min(first + 64, w.columns);
  double largest = 0;
  if constexpr (std::is_same_v<S, q8_0>) {
    // The larger scale of two blocks, codes brought to it by factors of 2^-15: 127 2^-15 of a step.
    // Code -128 of a scale below 0 would be 128 and becomes 127.
    bool beyond = false;
    for (index_t c = first; c < end; c += 32) {
      const auto& block = w.view().block(o, c / 32);
      largest = std::fmax(largest, size_of(to_float(block.d)));
      beyond = beyond || (to_float(block.d) < 0 && std::count(block.q, block.q + 32, -128) != 0);
    }
    return (beyond ? 1.004 : 0.504) * largest;
  }
  for (index_t c = first; c < end; ++c) {
    largest = std::fmax(largest, size_of(decoded[c]));
    if constexpr (std::is_same_v<S, q4_0> || std::is_same_v<S, q4_1>) {  // scaled for every code
      auto block = w.view().block(o, c / 32);
      float ends[32];
      block.q[0] = 0xf0;
      S::decode({}, block, ends);
      largest = std::fmax(largest, std::fmax(size_of(ends[0]), size_of(ends[16])));
    }
  }
  return half_step(largest);
}

/// x: [rows, C], w: [O, C]. [rows, O]
template <quant_scheme S>
std::vector<double> rounding_bounds(compute policy, const packed_matrix<S>& w,
                                    const std::vector<float>& x, index_t rows) {
  const index_t columns = w.columns;
  const std::vector<float> decoded = w.decoded();
  std::vector<double> half;  // [O, blocks]
  for (index_t o = 0; o < w.rows; ++o) {
    for (index_t c = 0; c < columns; c += 64) {
      half.push_back(weight_error(w, decoded.data() + o * columns, o, c));
    }
  }
  const auto size_of = [](float v) { return std::fabs(static_cast<double>(v)); };
  std::vector<double> out;
  for (index_t r = 0; r < rows; ++r) {
    const float* in = x.data() + r * columns;
    std::size_t block = 0;
    for (index_t o = 0; o < w.rows; ++o) {
      const float* weight = decoded.data() + o * columns;
      double plain = 0;     // S
      double rounding = 0;  // of inputs and weights to 8 bits
      for (index_t c = 0; c < columns; c += 64, ++block) {
        const index_t end = std::min(c + 64, columns);
        double largest = 0;
        for (index_t i = c; i < end; ++i) {
          largest = std::fmax(largest, size_of(in[i]));
        }
        const double off = half_step(largest);
        for (index_t i = c; i < end; ++i) {
          const double a = size_of(in[i]), b = size_of(weight[i]);
          plain += a * b;
          rounding += off * (b + half[block]) + a * half[block];
        }
      }
      const double terms = static_cast<double>(columns + 4) * 0x1p-24;
      switch (policy) {
        case compute::f32:
          out.push_back(terms * plain);
          break;
        case compute::bf16:
          out.push_back((terms * 1.01 + 0x1p-7 + 0x1p-16) * plain);
          break;
        case compute::i8:
          out.push_back(terms * (plain + rounding) + rounding);
          break;
      }
    }
  }
  return out;
}

/// x W^T in double. [rows, O]
template <quant_scheme S>
std::vector<double> exact_product(const packed_matrix<S>& w, const std::vector<double>& x,
                                  index_t rows) {
  const std::vector<float> decoded = w.decoded();
  std::vector<double> out;
  for (index_t r = 0; r < rows; ++r) {
    for (index_t o = 0; o < w.rows; ++o) {
      double sum = 0;
      for (index_t c = 0; c < w.columns; ++c) {
        sum += x[static_cast<std::size_t>(r * w.columns + c)] *
               static_cast<double>(decoded[static_cast<std::size_t>(o * w.columns + c)]);
      }
      out.push_back(sum);
    }
  }
  return out;
}

/// True when |found - exact| <= allowed for every element.
template <class T>
bool errs_within(const std::vector<T>& found, const std::vector<double>& exact,
                 const std::vector<double>& allowed) {
  if (found.size() != exact.size() || found.size() != allowed.size() || found.empty()) {
    return false;
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!(std::fabs(static_cast<double>(found[i]) - exact[i]) <= allowed[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace zoq::test
