// A new estimator: a slope from four points, whose error is of the order of epsilon^4.
//
// Its last line: slope of x\^3 at 1: -3
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <iostream>
#include <string_view>
#include <vector>
#include <zoq/estimate/estimator.hpp>
#include <zoq/estimate/probes.hpp>
#include <zoq/exec/serial.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/minimize.hpp>

// slope = (8 (L(e) - L(-e)) - (L(2e) - L(-2e))) / (12 e): exact for polynomials up to degree 4.
struct four_point {
  static constexpr std::string_view name = "four-point";
  static constexpr std::string_view summary = "slopes from four points on each direction's line";
  static constexpr std::string_view paper = "any book on finite differences";
  static constexpr std::string_view cost = "4 q forwards; 0 bytes of state";
  using state = zoq::no_state;
  double epsilon = 5e-3;
  int probes = 1;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("epsilon", self.epsilon);
    f("probes", self.probes);
  }

  template <zoq::executor X>
  bool ask(const X&, const zoq::step_info& at, state&, std::span<const zoq::answer> answers,
           std::vector<zoq::query>& wanted) const {
    for (int p = 0; answers.empty() && p < probes; ++p) {
      for (const double scale : {epsilon, -epsilon, 2 * epsilon, -2 * epsilon}) {
        wanted.push_back({.seed = zoq::probe_seed(at, p), .scale = scale});
      }
    }
    return answers.empty();  // one round is enough
  }

  template <zoq::executor X>
  void tell(const X&, const zoq::step_info& at, state&, std::span<const zoq::query> asked,
            std::span<const zoq::answer> answers, zoq::gradient& g) const {
    zoq::detail::require_finite(at, answers);
    for (std::size_t p = 0; p + 3 < answers.size(); p += 4) {
      const double near = answers[p].loss - answers[p + 1].loss;
      const double far = answers[p + 2].loss - answers[p + 3].loss;
      g.slope = (8 * near - far) / (12 * epsilon);
      g.loss += (answers[p].loss + answers[p + 1].loss) / (2 * probes);
      g.terms.push_back({asked[p].seed, g.slope / probes});
    }
  }
};
static_assert(zoq::estimator<four_point, zoq::any_executor>);

int main() {
  // The slope of x^3 at 1 is 3 along either direction +1 or -1. Two points at 0.25 would say 3.0625.
  std::vector<float> x = {1};
  const auto cube = [](std::span<const float> at) { return std::pow(double{at[0]}, 3.0); };
  const auto step =
      zoq::minimize(zoq::serial{}, x, cube, four_point{.epsilon = 0.25}, zoq::sgd{.rate = 0},
                    {.steps = 1, .direction = zoq::rademacher{}});
  std::cout << "slope of x^3 at 1: " << step.slope << "\n";
  return std::abs(std::abs(step.slope) - 3) < 1e-12 ? 0 : 1;
}
