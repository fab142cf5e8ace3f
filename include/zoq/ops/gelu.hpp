// gelu: x <- x Phi(x), with Phi by the tangent that GPT-2 uses:
//
//     0.5 x (1 + tanh(u)) = x / (1 + e^(-2 u)),   u = sqrt(2 / pi) (x + 0.044715 x^3)
//
//     zoq::gelu(exec, x);
//
// Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv 1606.08415.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/core/math.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// x <- gelu(x) for a run of elements.
template <index_t Length>
struct gelu_run {
  float* x;   // [n]
  index_t n;  // R * F
  ZOQ_HD void operator()(index_t run) const {
    constexpr float twice_root = 1.59576912f;  // 2 sqrt(2 / pi)
    const index_t begin = run * Length;
    const index_t end = begin + Length < n ? begin + Length : n;
    for (index_t i = begin; i < end; ++i) {
      const float u = twice_root * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
      x[i] = x[i] / (1.0f + exp_f32(-u));
    }
  }
};

/// x <- gelu(x). [R, F].
template <executor X>
void gelu(const X& exec, tensor_view<float, 2> x) {
  const index_t n = x.size();
  constexpr index_t length = run_length_on<X>;
  exec.for_each((n + length - 1) / length, gelu_run<length>{x.data, n});
}

}  // namespace zoq
