// Log-likelihoods from logits: log p(target) = logit[target] - log sum_v e^logit[v].
//
//     zoq::log_normalisers(exec, logits, normaliser);   // the second term, for every row
//
// A zeroth-order slope subtracts nearly equal losses, so what comes after the logits is double.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// log sum_v e^x[v], summed in runs of 256 as float lanes and across runs in double.
ZOQ_HD inline double log_sum_exp(const float* x, index_t n) {
  float top[lanes];
  for (float& t : top) {
    t = x[0];
  }
  for (index_t begin = 0; begin + lanes <= n; begin += lanes) {
    for (index_t l = 0; l < lanes; ++l) {
      top[l] = x[begin + l] > top[l] ? x[begin + l] : top[l];
    }
  }
  float largest = x[n - 1];
  for (index_t i = n - n % lanes; i < n; ++i) {
    largest = x[i] > largest ? x[i] : largest;
  }
  for (const float t : top) {
    largest = t > largest ? t : largest;
  }
  double total = 0;
  for (index_t begin = 0; begin < n; begin += 256) {
    const index_t end = begin + 256 < n ? begin + 256 : n;
    float partial[lanes] = {};
    index_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      for (index_t l = 0; l < lanes; ++l) {
        partial[l] += exp_f32(x[i + l] - largest);
      }
    }
    for (index_t l = 0; i + l < end; ++l) {
      partial[l] += exp_f32(x[i + l] - largest);
    }
    total += static_cast<double>(sum_of_lanes(partial));
  }
  return static_cast<double>(largest) + std::log(total);
}

struct log_sum_exp_row {
  tensor_view<const float, 2> logits;  // [R, V]
  double* normaliser;                  // [R]
  ZOQ_HD void operator()(index_t r) const {
    normaliser[r] = log_sum_exp(logits.data + r * logits.shape[1], logits.shape[1]);
  }
};

/// The log of each row's sum of exponentials. logits: [R, V], normaliser: [R].
template <executor X>
void log_normalisers(const X& exec, tensor_view<const float, 2> logits,
                     tensor_view<double, 1> normaliser) {
  require(normaliser.shape[0] == logits.shape[0] && logits.shape[1] > 0,
          "log_normalisers: ", normaliser.shape[0], " places for ", logits.shape[0], " rows of ",
          logits.shape[1]);
  exec.for_each(logits.shape[0], log_sum_exp_row{logits, normaliser.data});
}

}  // namespace zoq
