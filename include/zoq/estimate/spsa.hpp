// spsa: simultaneous perturbation stochastic approximation, from losses alone.
//
//     two-sided:  g = 1/q sum_p (L(w + e z_p) - L(w - e z_p)) / (2 e) z_p      2 q losses
//     one-sided:  g = 1/q sum_p (L(w + e z_p) - L(w)) / e z_p                  q + 1 losses
//
//     zoq::spsa estimator{.epsilon = 5e-3};
//
// E[g] is the gradient up to O(e^2), two-sided, or O(e). Spall, IEEE TAC 37(3), 1992; for language
// models Malladi et al., "MeZO", arXiv 2305.17333.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

struct spsa {
  static constexpr std::string_view name = "spsa";
  static constexpr std::string_view summary = "slopes from two sides, along each direction";
  static constexpr std::string_view paper = "arXiv 2305.17333";
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
      g.loss +=
          (answers[2 * p].loss + answers[2 * p + 1].loss) / static_cast<double>(answers.size());
      g.terms.push_back({asked[2 * p].seed, g.slope / probes});
    }
  }
};
static_assert(estimator<spsa, any_executor>);

/// The one-sided estimate: all probes share the loss at the values.
struct spsa_one_sided {
  static constexpr std::string_view name = "spsa-one-sided";
  static constexpr std::string_view summary = "slopes from one side and a loss that all share";
  static constexpr std::string_view paper = "Spall, IEEE TAC 37(3), 1992";
  static constexpr std::string_view cost = "q + 1 forwards; 0 bytes of state";
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
    wanted.push_back({});  // the shared base
    detail::push_points(wanted, at, epsilon, probes);
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    g.loss = answers[0].loss;
    for (std::size_t p = 1; p < answers.size(); ++p) {
      g.slope = (answers[p].loss - answers[0].loss) / epsilon;
      g.terms.push_back({asked[p].seed, g.slope / probes});
    }
  }
};
static_assert(estimator<spsa_one_sided, any_executor>);

}  // namespace zoq
