// Log-likelihoods from logits: log p(target) = logit[target] - log sum_v e^logit[v].
//
//     zoq::log_normalisers(exec, logits, normaliser);   // the second term, for every row
//     zoq::log_likelihoods(exec, logits, normaliser, places, likelihoods);
//     zoq::largest_logits(exec, logits, best);          // the likeliest token of every row
//
// A zeroth-order slope subtracts nearly equal losses, so what comes after the logits is double.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/exec/block.hpp"
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

/// log sum_v e^logit[v] of one row.
struct log_sum_exp_row {
  tensor_view<const float, 2> logits;  // [R, V]
  double* normaliser;                  // [R]
  ZOQ_HD void operator()(index_t r) const {
    normaliser[r] = log_sum_exp(logits.data + r * logits.shape[1], logits.shape[1]);
  }
};

/// The same for executors that run blocks of threads: a row is a block's, its sum double.
struct log_sum_exp_block {
  static constexpr int threads = 256;  // of a block
  /// What the threads share.
  struct shared {
    float largest[static_cast<std::size_t>(threads)];  // of each, then of all at [0]
    double sum[static_cast<std::size_t>(threads)];     // of each, then of all at [0]
  };
  log_sum_exp_row all;  // the rows

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    const index_t n = all.logits.shape[1];
    const float* x = all.logits.data + block.index() * n;
    block.each([&](int t) {
      float largest = x[0];
      for (index_t i = t; i < n; i += threads) {
        largest = x[i] > largest ? x[i] : largest;
      }
      block.shared().largest[t] = largest;
    });
    for (int half = threads / 2; half > 0; half /= 2) {
      block.each([&](int t) {
        float* largest = block.shared().largest;
        if (t < half && largest[t + half] > largest[t]) {
          largest[t] = largest[t + half];
        }
      });
    }
    block.each([&](int t) {
      double sum = 0;
      for (index_t i = t; i < n; i += threads) {
        sum += static_cast<double>(exp_f32(x[i] - block.shared().largest[0]));
      }
      block.shared().sum[t] = sum;
    });
    sum_of_threads(block, block.shared().sum);
    block.each([&](int t) {
      if (t == 0) {
        all.normaliser[block.index()] =
            static_cast<double>(block.shared().largest[0]) + std::log(block.shared().sum[0]);
      }
    });
  }
};

/// The log of each row's sum of exponentials. logits: [R, V], normaliser: [R].
template <executor X>
void log_normalisers(const X& exec, tensor_view<const float, 2> logits,
                     tensor_view<double, 1> normaliser) {
  require(normaliser.shape[0] == logits.shape[0] && logits.shape[1] > 0,
          "log_normalisers: ", normaliser.shape[0], " places for ", logits.shape[0], " rows of ",
          logits.shape[1]);
  const log_sum_exp_row all{logits, normaliser.data};
  for_each_row(exec, logits.shape[0], log_sum_exp_block{all}, all);
}

/// Where the likelihood of a token is read: its logit's row and column.
struct likelihood_place {
  std::int32_t row;  // of the logits
  token_t target;    // the column
};

/// logit[target] - log sum_v e^logit[v] at one place.
struct log_likelihood_of_place {
  tensor_view<const float, 2> logits;  // [R, V]
  const double* normaliser;            // [R]
  const likelihood_place* place;       // [n]
  double* likelihood;                  // [n]
  ZOQ_HD void operator()(index_t i) const {
    const likelihood_place at = place[i];
    likelihood[i] = static_cast<double>(logits(at.row, at.target)) - normaliser[at.row];
  }
};

/// The log-likelihood at every place. logits: [R, V], normaliser: [R], place, likelihood: [n]. The
/// caller has checked the places.
template <executor X>
void log_likelihoods(const X& exec, tensor_view<const float, 2> logits,
                     tensor_view<const double, 1> normaliser,
                     tensor_view<const likelihood_place, 1> place,
                     tensor_view<double, 1> likelihood) {
  require(normaliser.shape[0] == logits.shape[0] && likelihood.shape[0] == place.shape[0],
          "log_likelihoods: ", normaliser.shape[0], " normalisers for ", logits.shape[0], " rows, ",
          likelihood.shape[0], " likelihoods for ", place.shape[0], " places");
  exec.for_each(place.shape[0],
                log_likelihood_of_place{logits, normaliser.data, place.data, likelihood.data});
}

/// The column of one row's largest logit, of equal ones the first.
struct largest_logit_row {
  tensor_view<const float, 2> logits;  // [R, V]
  token_t* best;                       // [R]
  ZOQ_HD void operator()(index_t r) const {
    const float* x = logits.data + r * logits.shape[1];
    index_t at = 0;
    for (index_t v = 1; v < logits.shape[1]; ++v) {
      at = x[v] > x[at] ? v : at;
    }
    best[r] = static_cast<token_t>(at);
  }
};

/// The same for executors that run blocks of threads: a row is a block's.
struct largest_logit_block {
  static constexpr int threads = 256;  // of a block
  /// What the threads share.
  struct shared {
    index_t at[static_cast<std::size_t>(threads)];  // column: of each, then of all at [0]
  };
  largest_logit_row all;  // the rows

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    const index_t n = all.logits.shape[1];
    const float* x = all.logits.data + block.index() * n;
    block.each([&](int t) {
      index_t at = t < n ? t : 0;
      for (index_t v = t; v < n; v += threads) {
        at = x[v] > x[at] ? v : at;
      }
      block.shared().at[t] = at;
    });
    for (int half = threads / 2; half > 0; half /= 2) {
      block.each([&](int t) {
        index_t* at = block.shared().at;
        if (t < half) {
          const index_t other = at[t + half];
          const bool takes = x[other] > x[at[t]] || (x[other] == x[at[t]] && other < at[t]);
          at[t] = takes ? other : at[t];
        }
      });
    }
    block.each([&](int t) {
      if (t == 0) {
        all.best[block.index()] = static_cast<token_t>(block.shared().at[0]);
      }
    });
  }
};

/// The column of each row's largest logit; of equal ones the first. logits: [R, V], best: [R]. Of rows
/// with a logit that is no number any column.
template <executor X>
void largest_logits(const X& exec, tensor_view<const float, 2> logits,
                    tensor_view<token_t, 1> best) {
  require(best.shape[0] == logits.shape[0] && logits.shape[1] > 0,
          "largest_logits: ", best.shape[0], " places for ", logits.shape[0], " rows of ",
          logits.shape[1]);
  const largest_logit_row all{logits, best.data};
  for_each_row(exec, logits.shape[0], largest_logit_block{all}, all);
}

}  // namespace zoq
