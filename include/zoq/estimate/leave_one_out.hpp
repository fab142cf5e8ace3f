// leave_one_out: one-sided losses, each against the mean of the others.
//
//     g = 1/q sum_p (L_p - b_p) / e z_p,   L_p = L(w + e z_p),  b_p = 1/(q - 1) sum_{s != p} L_s
//
//     zoq::leave_one_out estimator{.epsilon = 5e-3, .probes = 4};     // q losses, no base
//
// The baseline of a probe does not depend on it, so E[g] is that of the one-sided estimate; since
// L_p - b_p = q/(q-1) (L_p - mean), g is q/(q-1) times the mean-centred estimate. Baseline: Kool et
// al., "Buy 4 REINFORCE samples, get a baseline for free!", 2019; in the tuning of language models by
// losses: "Low-Rank Curvature for Zeroth-Order Optimization in LLM Fine-Tuning", arXiv 2511.07971.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

struct leave_one_out {
  static constexpr std::string_view name = "leave-one-out";
  static constexpr std::string_view summary =
      "losses from one side, each against the mean of the others";
  static constexpr std::string_view paper = "arXiv 2511.07971";
  static constexpr std::string_view cost = "q forwards, q at least 2; 0 bytes of state";
  using state = no_state;
  double epsilon = 5e-3;
  int probes = 4;

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
    detail::push_points(wanted, at, epsilon, probes);
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    for (std::size_t p = 0; p < answers.size(); ++p) {
      double others = 0;
      for (std::size_t s = 0; s < answers.size(); ++s) {
        others += s == p ? 0.0 : answers[s].loss;
      }
      g.slope = (answers[p].loss - others / (probes - 1)) / epsilon;
      g.terms.push_back({asked[p].seed, g.slope / probes});
    }
    g.loss = detail::mean_loss(answers);
  }
};
static_assert(estimator<leave_one_out, any_executor>);

}  // namespace zoq
