// rms_norm: y[r, c] = gain[c] x[r, c] / sqrt(mean_c(x[r, c]^2) + epsilon).
//
//     zoq::rms_norm(exec, x, gain, 1e-5f, y);
//     zoq::rms_norm_of_branches(exec, x, gains, 1e-5f, y);      // a gain for every branch
//
// Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/exec/block.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// One row: y = gain x / sqrt(mean(x^2) + epsilon).
struct rms_norm_row {
  tensor_view<const float, 2> x;     // [R, C]
  tensor_view<const float, 2> gain;  // [G, C]: R / G rows share a gain
  float epsilon;                     // under the root
  tensor_view<float, 2> y;           // [R, C]

  /// The gain of row r.
  [[nodiscard]] ZOQ_HD const float* gain_of_row(index_t r) const {
    return gain.data + (gain.shape[0] == 1 ? 0 : r / (x.shape[0] / gain.shape[0]) * x.shape[1]);
  }

  ZOQ_HD void operator()(index_t r) const {
    const index_t n = x.shape[1];
    const float* in = x.data + r * n;
    const float* by = gain_of_row(r);
    float* out = y.data + r * n;
    const float mean = dot_lanes(in, in, n) / static_cast<float>(n);
    const float scale = 1.0f / std::sqrt(mean + epsilon);
    for (index_t c = 0; c < n; ++c) {
      out[c] = in[c] * scale * by[c];
    }
  }
};

/// The same for executors that run blocks of threads: a row is a block's.
struct rms_norm_block {
  static constexpr int threads = 128;  // of a block
  /// What the threads share.
  struct shared {
    float sum[static_cast<std::size_t>(threads)];  // of each, then of all at [0]
  };
  rms_norm_row all;  // the rows

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    const index_t n = all.x.shape[1];
    const float* in = all.x.data + block.index() * n;
    block.each([&](int t) {
      float sum = 0;
      for (index_t c = t; c < n; c += threads) {
        sum += in[c] * in[c];
      }
      block.shared().sum[t] = sum;
    });
    sum_of_threads(block, block.shared().sum);
    block.each([&](int t) {
      const float mean = block.shared().sum[0] / static_cast<float>(n);
      const float scale = 1.0f / std::sqrt(mean + all.epsilon);
      const float* by = all.gain_of_row(block.index());
      float* out = all.y.data + block.index() * n;
      for (index_t c = t; c < n; c += threads) {
        out[c] = in[c] * scale * by[c];
      }
    });
  }
};

/// x: [R, C], y: [R, C], may be x. gain: [G, C], of which each is that of R / G rows one after another:
/// a gain for every branch, or one for all. Throws when shapes disagree.
template <executor X>
void rms_norm_of_branches(const X& exec, tensor_view<const float, 2> x,
                          tensor_view<const float, 2> gain, float epsilon,
                          tensor_view<float, 2> y) {
  require(x.shape[1] == gain.shape[1] && x.shape[0] == y.shape[0] && x.shape[1] == y.shape[1] &&
              gain.shape[0] > 0 && x.shape[0] % gain.shape[0] == 0,
          "rms_norm: x is ", x.shape[0], " x ", x.shape[1], ", gain ",
          gain.shape[0] == 1 ? "" : text(gain.shape[0], " x "), gain.shape[1], ", y ", y.shape[0],
          " x ", y.shape[1]);
  const rms_norm_row all{x, gain, epsilon, y};
  for_each_row(exec, x.shape[0], rms_norm_block{all}, all);
}

/// The same with one gain for all rows: [C].
template <executor X>
void rms_norm(const X& exec, tensor_view<const float, 2> x, tensor_view<const float, 1> gain,
              float epsilon, tensor_view<float, 2> y) {
  rms_norm_of_branches(exec, x, {gain.data, {1, gain.shape[0]}}, epsilon, y);
}

}  // namespace zoq
