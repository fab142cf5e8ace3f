// A new optimizer: steps of one length a value, with the sign of a momentum.
//
// Its last line: minimum near [\d.]+, [\d.]+, [\d.]+
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <iostream>
#include <string_view>
#include <vector>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/serial.hpp>
#include <zoq/optim/optimizer.hpp>
#include <zoq/train/minimize.hpp>

// w <- w - rate * sign(beta1 m + (1 - beta1) g),   m <- beta2 m + (1 - beta2) g
struct lion {
  static constexpr std::string_view name = "lion";
  static constexpr std::string_view summary = "the sign of an estimate mixed with a momentum";
  static constexpr std::string_view paper = "arXiv 2302.06675";
  static constexpr std::string_view cost = "4 k bytes";
  static constexpr int state_floats = 1;  // m, zero at first
  static constexpr bool needs_norm = false;
  double rate = 1e-4;
  double beta1 = 0.9, beta2 = 0.99;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
    f("beta1", self.beta1);
    f("beta2", self.beta2);
  }

  struct rule {
    float rate, beta1, beta2;
    ZOQ_HD float operator()(float value, float gradient, float* m) const {
      const float mixed = std::fma(beta1, *m - gradient, gradient);
      *m = std::fma(beta2, *m - gradient, gradient);
      return mixed > 0 ? value - rate : mixed < 0 ? value + rate : value;
    }
  };

  [[nodiscard]] rule at(const zoq::step_facts& facts) const {
    zoq::detail::require_setting(name, "rate", rate);
    zoq::detail::require_kept(name, "beta1", beta1);
    zoq::detail::require_kept(name, "beta2", beta2);
    return {static_cast<float>(rate * facts.schedule), static_cast<float>(beta1),
            static_cast<float>(beta2)};
  }
};
static_assert(zoq::optimizer<lion>);

int main() {
  std::vector<float> x = {3, -2, 1};
  const auto loss = [](std::span<const float> at) {
    const double a = at[0] - 1.0, b = at[1] - 2.0, c = at[2] - 3.0;
    return a * a + 2 * b * b + 3 * c * c;
  };
  zoq::minimize(zoq::serial{}, x, loss, zoq::spsa{.epsilon = 1e-3, .probes = 4}, lion{.rate = 0.03},
                {.steps = 600, .seed = 1, .schedule = zoq::cosine{}});
  std::cout << "minimum near " << x[0] << ", " << x[1] << ", " << x[2] << "\n";
  return loss(x) < 1e-3 ? 0 : 1;
}
