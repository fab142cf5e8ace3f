// rms_norm: y[r, c] = gain[c] x[r, c] / sqrt(mean_c(x[r, c]^2) + epsilon).
//
//     zoq::rms_norm(exec, x, gain, 1e-5f, y);
//
// Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

struct rms_norm_row {
  tensor_view<const float, 2> x;     // [R, C]
  tensor_view<const float, 1> gain;  // [C]
  float epsilon;
  tensor_view<float, 2> y;  // [R, C]

  ZOQ_HD void operator()(index_t r) const {
    const index_t n = x.shape[1];
    const float* in = x.data + r * n;
    float* out = y.data + r * n;
    const float mean = dot_lanes(in, in, n) / static_cast<float>(n);
    const float scale = 1.0f / std::sqrt(mean + epsilon);
    for (index_t c = 0; c < n; ++c) {
      out[c] = in[c] * scale * gain.data[c];
    }
  }
};

/// x: [R, C], gain: [C], y: [R, C], may be x. Throws when shapes disagree.
template <executor X>
void rms_norm(const X& exec, tensor_view<const float, 2> x, tensor_view<const float, 1> gain,
              float epsilon, tensor_view<float, 2> y) {
  require(x.shape[1] == gain.shape[0] && x.shape[0] == y.shape[0] && x.shape[1] == y.shape[1],
          "rms_norm: x is ", x.shape[0], " x ", x.shape[1], ", gain ", gain.shape[0], ", y ",
          y.shape[0], " x ", y.shape[1]);
  exec.for_each(x.shape[0], rms_norm_row{x, gain, epsilon, y});
}

}  // namespace zoq
