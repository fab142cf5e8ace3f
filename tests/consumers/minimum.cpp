// The smallest program that uses zoq: descent of a plain function.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <span>
#include <vector>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/serial.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/minimize.hpp>

int main() {
  std::vector<float> x = {3};
  const auto loss = [](std::span<const float> at) { return std::pow(at[0] - 1.0, 2); };
  zoq::minimize(zoq::serial{}, x, loss, zoq::spsa{.epsilon = 1e-3}, zoq::sgd{.rate = 0.03},
                {.steps = 300, .seed = 1});
  return loss(x) < 1e-3 ? 0 : 1;
}
