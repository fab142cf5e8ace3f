// Optimizers in plain double, for one value, to compare with: written from the papers' formulas.
//
//     zoq::test::adam_reference r{.rate = 1e-3};
//     w = r.step(w, g);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>

namespace zoq::test {

struct adam_reference {
  double rate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0;
  double m = 0, v = 0;
  int t = 0;

  double step(double w, double g) {
    ++t;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const double mean = m / (1 - std::pow(beta1, t));
    const double square = v / (1 - std::pow(beta2, t));
    return w - rate * (mean / (std::sqrt(square) + epsilon) + decay * w);
  }
};

struct adamax_reference {
  double rate, beta1 = 0.9, beta2 = 0.999;
  double m = 0, u = 0;
  int t = 0;

  double step(double w, double g) {
    ++t;
    m = beta1 * m + (1 - beta1) * g;
    u = std::max(beta2 * u, std::fabs(g));
    return w - rate / (1 - std::pow(beta1, t)) * m / u;
  }
};

struct momentum_reference {
  double rate, beta = 0.9;
  double v = 0;

  double step(double w, double g) {
    v = beta * v + g;
    return w - rate * v;
  }
};

}  // namespace zoq::test
