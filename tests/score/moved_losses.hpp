// Losses for scores from forward passes alone: a function of one moved matrix, and a real model's.
//
//     zoq::test::loss_of_matrix loss{weights, [](std::size_t tensor, std::size_t i) { return ...; }};
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/samples.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq::test {

/// sum over moved entries of slope * d + 0.5 * curvature * d^2, d the offset; in host memory.
template <class Slope, class Curvature>
struct quadratic_loss {
  std::span<const model_tensor> tensors;
  Slope slope;          // (tensor, entry) -> double
  Curvature curvature;  // the same
  double constant = 0;

  double operator()(const branch_parts& at) const {
    double sum = constant;
    for (std::size_t t = 0; t < at.tensor.size(); ++t) {
      if (!at.tensor[t].offset) {
        continue;
      }
      const float* d = at.tensor[t].offset->offset.at(0);
      for (index_t i = 0; i < tensors[t].weight.rows() * tensors[t].weight.columns(); ++i) {
        const auto x = static_cast<double>(d[i]);
        sum += slope(t, i) * x + 0.5 * curvature(t, i) * x * x;
      }
    }
    return sum;
  }
};
template <class S, class C>
quadratic_loss(std::span<const model_tensor>, S, C, double) -> quadratic_loss<S, C>;

}  // namespace zoq::test
