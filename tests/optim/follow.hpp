// Many steps of an optimizer beside a reference in double, on noisy gradients of a bowl.
//
//     double worst = zoq::test::farthest(optimizer, [&] { return adam_reference{.rate = 1e-3}; });
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "random_values.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/optim/apply.hpp"

namespace zoq::test {

/// The largest distance of any value from its reference over 1000 steps. Values start within 0.1 of
/// zero, as offsets do; the gradients, the same for both, are those of a bowl with as much noise.
template <class Optimizer, class Reference>
double farthest(const Optimizer& o, const Reference& make) {
  const serial exec;
  constexpr index_t k = 37;
  const extent whole{0, 1, k};
  const value_order order{&whole, 1, k};
  std::vector<float> w = uniform(k, 1, -0.1, 0.1);
  std::vector<float> state(static_cast<std::size_t>(state_size_of(o, order)));
  std::vector<double> wanted(w.begin(), w.end());
  std::vector reference(static_cast<std::size_t>(k), make());
  double worst = 0;
  for (std::uint64_t t = 0; t < 1000; ++t) {
    std::vector<float> g = uniform(k, 100 + t, -1, 1);
    for (std::size_t i = 0; i < w.size(); ++i) {
      g[i] += 3 * (w[i] - 0.05f);
    }
    apply_optimizer(exec, o, order, {.step = t}, g.data(), state.data(), w.data());
    for (std::size_t i = 0; i < w.size(); ++i) {
      wanted[i] = reference[i].step(wanted[i], static_cast<double>(g[i]));
      worst = std::fmax(worst, std::fabs(static_cast<double>(w[i]) - wanted[i]));
    }
  }
  return worst;
}

}  // namespace zoq::test
