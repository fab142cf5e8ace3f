// Running means of gradients and of their squares: what Adam and its kin share.
//
//     m <- beta m + (1 - beta) x,   unbiased m / (1 - beta^t) after t steps from zero
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "zoq/core/config.hpp"

namespace zoq {

/// beta m + (1 - beta) x, the product fused.
ZOQ_HD inline double running_mean(double beta, double mean, double x) {
  return std::fma(beta, mean - x, x);
}

/// 1 / (1 - beta^steps): what a running mean that began at zero is short of. beta in [0, 1).
inline double unbiased_factor(double beta, std::uint64_t steps) {
  return beta == 0 ? 1.0 : -1.0 / std::expm1(static_cast<double>(steps) * std::log(beta));
}

}  // namespace zoq
