// fzoo: one-sided differences over the spread of the losses, so that steps adapt to the slope's size.
//
//     g = 1/(e q s) sum_p (L_p - L_0) z_p,   L_p = L(w + e z_p),  s^2 = 1/(q-1) sum_p (L_p - mean)^2
//
//     zoq::fzoo estimator{.epsilon = 5e-3, .probes = 8};      // q + 1 losses; q at least 2
//
// Multiplying the loss by a number changes no step. s is about e times the gradient's length, so |g| is
// about 1/e whatever the slope: rates are e times those of a normalised step. With losses that do not
// differ at all there is no step. Its paper uses Rademacher directions. Dang et al., "FZOO: Fast
// Zeroth-Order Optimizer for Fine-Tuning Large Language Models towards Adam-Scale Speed", arXiv
// 2506.09034.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

struct fzoo {
  static constexpr std::string_view name = "fzoo";
  static constexpr std::string_view summary =
      "differences from one side over the standard deviation of the losses";
  static constexpr std::string_view paper = "arXiv 2506.09034";
  static constexpr std::string_view cost = "q + 1 forwards, q at least 2; 0 bytes of state";
  using state = no_state;
  double epsilon = 5e-3;
  int probes = 8;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("epsilon", self.epsilon);
    f("probes", self.probes);
  }

  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, probes);
    require(probes >= 2, name, ": ", probes, " probe, wanted at least 2");
    if (!answers.empty()) {
      return false;
    }
    wanted.push_back({});
    detail::push_points(wanted, at, epsilon, probes);
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    const double base = answers[0].loss;
    const double mean = detail::mean_loss(answers.subspan(1));
    double variance = 0;
    for (const answer& a : answers.subspan(1)) {
      variance += (a.loss - mean) * (a.loss - mean) / (probes - 1);
    }
    g.loss = base;
    const double spread = std::sqrt(variance);
    for (std::size_t p = 1; p < answers.size() && spread > 0; ++p) {
      g.slope = (answers[p].loss - base) / epsilon;
      g.terms.push_back({asked[p].seed, g.slope / spread / probes});
    }
  }
};
static_assert(estimator<fzoo, any_executor>);

}  // namespace zoq
