// Zeroth-order descent of a plain function: the estimators and optimisers that tune models need no
// model.
//
// Its last line: minimum near [01][.\d]*, [12][.\d]*, [23][.\d]*
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <vector>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/serial.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/minimize.hpp>

int main() {
  std::vector<float> x = {3, -2, 1};
  const auto loss = [](std::span<const float> at) {
    const double a = at[0] - 1.0, b = at[1] - 2.0, c = at[2] - 3.0;
    return a * a + 2 * b * b + 3 * c * c;
  };
  zoq::minimize(zoq::serial{}, x, loss, zoq::spsa{.epsilon = 1e-3, .probes = 4},
                zoq::sgd{.rate = 0.03}, {.steps = 500, .seed = 1});
  std::cout << "minimum near " << x[0] << ", " << x[1] << ", " << x[2] << "\n";
  return loss(x) < 1e-3 ? 0 : 1;
}
