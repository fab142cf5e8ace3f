// layer_norm: y[r, c] = gain[c] (x[r, c] - m) / sqrt(v + epsilon) + bias[c], with the mean m and the
// variance v of the row.
//
//     zoq::layer_norm(exec, x, gain, bias, 1e-5f, y);
//
// Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.
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

/// One row: y = gain (x - m) / sqrt(v + epsilon) + bias.
struct layer_norm_row {
  tensor_view<const float, 2> x;     // [R, C]
  tensor_view<const float, 2> gain;  // [G, C]: R / G rows share a gain
  tensor_view<const float, 2> bias;  // [B, C]: and R / B rows a bias
  float epsilon;                     // under the root
  tensor_view<float, 2> y;           // [R, C]

  /// What of `from` is row r's.
  [[nodiscard]] ZOQ_HD const float* of_row(tensor_view<const float, 2> from, index_t r) const {
    return from.data + (from.shape[0] == 1 ? 0 : r / (x.shape[0] / from.shape[0]) * x.shape[1]);
  }

  ZOQ_HD void operator()(index_t r) const {
    const index_t n = x.shape[1];
    const float* in = x.data + r * n;
    const float* by = of_row(gain, r);
    const float* plus = of_row(bias, r);
    float* out = y.data + r * n;
    const float mean = sum_lanes(in, n) / static_cast<float>(n);
    for (index_t c = 0; c < n; ++c) {
      out[c] = in[c] - mean;
    }
    const float variance = dot_lanes(out, out, n) / static_cast<float>(n);
    const float scale = 1.0f / std::sqrt(variance + epsilon);
    for (index_t c = 0; c < n; ++c) {
      out[c] = out[c] * scale * by[c] + plus[c];
    }
  }
};

/// The same for executors that run blocks of threads: a row is a block's.
struct layer_norm_block {
  static constexpr int threads = 128;  // of a block
  /// What the threads share.
  struct shared {
    float sum[static_cast<std::size_t>(threads)];  // of each, then of all at [0]
    float mean;                                    // of the row
  };
  layer_norm_row all;  // the rows

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    const index_t n = all.x.shape[1];
    const float* in = all.x.data + block.index() * n;
    block.each([&](int t) {
      float sum = 0;
      for (index_t c = t; c < n; c += threads) {
        sum += in[c];
      }
      block.shared().sum[t] = sum;
    });
    sum_of_threads(block, block.shared().sum);
    block.each([&](int t) {
      if (t == 0) {
        block.shared().mean = block.shared().sum[0] / static_cast<float>(n);
      }
    });
    block.each([&](int t) {
      const float mean = block.shared().mean;
      float sum = 0;
      for (index_t c = t; c < n; c += threads) {
        sum += (in[c] - mean) * (in[c] - mean);
      }
      block.shared().sum[t] = sum;
    });
    sum_of_threads(block, block.shared().sum);
    block.each([&](int t) {
      const float variance = block.shared().sum[0] / static_cast<float>(n);
      const float scale = 1.0f / std::sqrt(variance + all.epsilon);
      const float* by = all.of_row(all.gain, block.index());
      const float* plus = all.of_row(all.bias, block.index());
      float* out = all.y.data + block.index() * n;
      for (index_t c = t; c < n; c += threads) {
        out[c] = (in[c] - block.shared().mean) * scale * by[c] + plus[c];
      }
    });
  }
};

/// x: [R, C], y: [R, C], may be x. gain: [G, C], bias: [B, C], of which each is that of R / G or R / B
/// rows one after another: one for every branch, or one for all. Throws when shapes disagree.
template <executor X>
void layer_norm(const X& exec, tensor_view<const float, 2> x, tensor_view<const float, 2> gain,
                tensor_view<const float, 2> bias, float epsilon, tensor_view<float, 2> y) {
  require(x.shape[0] == y.shape[0] && x.shape[1] == y.shape[1] && x.shape[1] == gain.shape[1] &&
              x.shape[1] == bias.shape[1] && gain.shape[0] > 0 && bias.shape[0] > 0 &&
              x.shape[0] % gain.shape[0] == 0 && x.shape[0] % bias.shape[0] == 0,
          "layer_norm: x is ", x.shape[0], " x ", x.shape[1], ", gain ", gain.shape[0], " x ",
          gain.shape[1], ", bias ", bias.shape[0], " x ", bias.shape[1], ", y ", y.shape[0], " x ",
          y.shape[1]);
  const layer_norm_row all{x, gain, bias, epsilon, y};
  for_each_row(exec, x.shape[0], layer_norm_block{all}, all);
}

}  // namespace zoq
