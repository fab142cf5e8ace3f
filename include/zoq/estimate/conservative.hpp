// conservative: down the slope, up it, or no step at all: wherever the loss is least.
//
//     s = (L(w + e z) - L(w - e z)) / (2 e)
//     w <- the best of  w,  w - rate s z,  w + rate s z             5 losses, in two rounds
//
//     zoq::conservative estimator{.epsilon = 5e-3};
//
// The points that it tries are those that sgd reaches with the rate of this step, which the step
// names (step_info::rate), or with `rate`, where that is not 0. With another optimizer they are only
// near them. On a function without noise no step raises the loss, up to the rounding of the values. The
// conservative update of Zhang et al., "Revisiting Zeroth-Order Optimization for Memory-Efficient LLM
// Fine-Tuning: A Benchmark", arXiv 2402.11592.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

struct conservative {
  static constexpr std::string_view name = "conservative";
  static constexpr std::string_view summary =
      "the best of a step down the slope, one up it, and none";
  static constexpr std::string_view paper = "arXiv 2402.11592";
  static constexpr std::string_view cost = "5 forwards in two rounds; 0 bytes of state";
  using state = no_state;
  double epsilon = 5e-3;
  double rate = 0;  // of the points that are tried; 0: the optimizer's

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("epsilon", self.epsilon);
    f("rate", self.rate);
  }

  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, 1);
    require(std::isfinite(rate) && rate >= 0, name, ": rate is ", rate,
            ", wanted 0 (the optimizer's) or a positive number");
    if (answers.empty()) {
      detail::push_pair(wanted, {.seed = at.seed, .scale = epsilon});
      return true;
    }
    if (answers.size() == 2) {
      detail::require_finite(at, answers);
      const double step = -(rate > 0 ? rate : at.rate) * detail::slope_of_pair(answers, 0, epsilon);
      wanted.push_back({});
      detail::push_pair(wanted, {.seed = at.seed, .scale = step});
      return true;
    }
    return false;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query>,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    const double here = answers[2].loss, down = answers[3].loss, up = answers[4].loss;
    g.slope = detail::slope_of_pair(answers, 0, epsilon);
    g.loss = here;
    if (down < here && down <= up) {
      g.terms.push_back({at.seed, g.slope});
    } else if (up < here) {
      g.terms.push_back({at.seed, -g.slope});
    }
  }
};
static_assert(estimator<conservative, any_executor>);

}  // namespace zoq
