// sign: of each slope only the sign counts.
//
//     g = 1/q sum_p sign(L(w + e z_p) - L(w - e z_p)) z_p        2 q losses
//
//     zoq::sign_spsa estimator{.epsilon = 5e-3};
//
// Every step is as long as its direction, times the rate: no increasing function of the loss changes a
// step. With one probe and Rademacher directions this is the elementwise sign of the two-sided estimate,
// the update of ZO-signSGD; with other directions the magnitudes within z stay (for the sign of every
// element choose the optimizer sign). Liu et al., "signSGD via Zeroth-Order Oracle", ICLR 2019; for
// language models Zhang et al., arXiv 2402.11592.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

struct sign_spsa {
  static constexpr std::string_view name = "sign";
  static constexpr std::string_view summary = "the sign of each slope from two sides";
  static constexpr std::string_view paper = "arXiv 2402.11592";
  static constexpr std::string_view cost = "2 q forwards; 0 bytes of state";
  using state = no_state;
  double epsilon = 5e-3;
  int probes = 1;

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("epsilon", self.epsilon);
    f("probes", self.probes);
  }

  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, probes);
    if (!answers.empty()) {
      return false;
    }
    detail::push_pairs(wanted, at, epsilon, probes);
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    for (std::size_t p = 0; 2 * p < answers.size(); ++p) {
      g.slope = detail::slope_of_pair(answers, p, epsilon);
      if (g.slope != 0) {
        g.terms.push_back({asked[2 * p].seed, (g.slope > 0 ? 1.0 : -1.0) / probes});
      }
    }
    g.loss = detail::mean_loss(answers);
  }
};
static_assert(estimator<sign_spsa, any_executor>);

}  // namespace zoq
