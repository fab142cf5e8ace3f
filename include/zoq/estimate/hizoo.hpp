// hizoo: two-sided slopes along directions that a diagonal curvature shapes, by a third loss.
//
//     d = (L(w + e S z) - 2 L(w) + L(w - e S z)) / e^2        S = diag(s), S S = Sigma
//     g = 1/q sum_p (L(w + e S z_p) - L(w - e S z_p)) / (2 e) S z_p
//     1/Sigma <- (1 - a) 1/Sigma + a |d| / 2  z^2 / Sigma     elementwise; Sigma is I at first
//
//     zoq::hizoo estimator{.epsilon = 5e-3, .smooth = 1e-4};
//
// E[g] = Sigma times the gradient: steps are short where the loss is curved. g is along the shape that
// its losses were measured with; the new curvature serves the next step. Of several probes each counts
// for a / q. Memory: s, now and next: 8 bytes a value. Zhao et al., "Second-Order Fine-Tuning without
// Pain for LLMs: A Hessian Informed Zeroth-Order Optimizer", arXiv 2402.15173.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/kept_values.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/tensor/memory_part.hpp"

namespace zoq {

/// z^T H z by a second difference, H the Hessian: with a Rademacher z and a diagonal H, the trace of H.
/// Errs by O(epsilon^2), and by rounding of losses over epsilon^2.
inline double curvature_along(double base, double plus, double minus, double epsilon) {
  return (plus - 2 * base + minus) / (epsilon * epsilon);
}

namespace detail {
/// Four elements of s <- s / sqrt(keep + gain z^2): what the curvature's average makes of s.
template <field Field>
struct shape_block {
  Field z;
  const index_t* key;  // of value_order
  index_t count;
  double keep, gain;
  float* shape;  // [k]

  ZOQ_HD void operator()(index_t block) const {
    const float4v noise = four_of(z, key, count, block);
    for (index_t j = 0; j < 4 && 4 * block + j < count; ++j) {
      const double n = static_cast<double>(noise.at[j]);
      float& s = shape[4 * block + j];
      s = static_cast<float>(static_cast<double>(s) / std::sqrt(std::fma(gain, n * n, keep)));
    }
  }
};
}  // namespace detail

struct hizoo {
  static constexpr std::string_view name = "hizoo";
  static constexpr std::string_view summary =
      "slopes from two sides, directions shaped by a diagonal curvature";
  static constexpr std::string_view paper = "arXiv 2402.15173";
  static constexpr std::string_view cost = "2 q + 1 forwards; 8 k bytes of state";
  struct state {
    kept_values shape;    // [k]: 1 / sqrt of the curvature
    kept_values next;     // [k]: of the next step
    bool turned = false;  // whether `next` is to be used from now on
  };
  double epsilon = 5e-3;
  int probes = 1;
  double smooth = 1e-4;  // a: the share of a new curvature

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("epsilon", self.epsilon);
    f("probes", self.probes);
    f("smooth", self.smooth);
  }
  /// Bytes of shape and next, for k values.
  [[nodiscard]] static index_t state_bytes(index_t k) { return 2 * buffer_bytes<float>(k); }

  template <executor X>
  bool ask(const X& exec, const step_info& at, state& s, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, probes);
    require(smooth >= 0 && smooth < 1, name, ": smooth is ", smooth, ", wanted 0 to 1, without 1");
    if (!answers.empty()) {
      return false;
    }
    const bool fresh = s.shape.size() == 0;
    require(fresh || s.shape.size() == at.order.size, name, ": a shape of ", s.shape.size(),
            " values, the view has ", at.order.size);
    if (fresh) {
      s.shape.reserve(exec, at.order.size);
      s.shape.fill(exec, 1.0f);
    } else if (s.turned) {
      std::swap(s.shape, s.next);
    }
    s.turned = false;
    wanted.push_back({});
    for (int p = 0; p < probes; ++p) {
      detail::push_pair(wanted,
                        {.seed = probe_seed(at, p), .scale = epsilon, .shape = s.shape.data()});
    }
    return true;
  }

  template <executor X>
  void tell(const X& exec, const step_info& at, state& s, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    require(at.direction != nullptr, name, ": the step names no direction");
    s.next.reserve(exec, at.order.size);
    s.next.assign(exec, s.shape.data());
    s.turned = true;
    const double base = answers[0].loss;
    const auto pairs = answers.subspan(1);
    for (std::size_t p = 0; 2 * p < pairs.size(); ++p) {
      const seed_t seed = asked[1 + 2 * p].seed;
      g.slope = detail::slope_of_pair(pairs, p, epsilon);
      g.terms.push_back({seed, g.slope / probes, s.shape.data()});
      const double bend =
          std::fabs(curvature_along(base, pairs[2 * p].loss, pairs[2 * p + 1].loss, epsilon));
      std::visit(
          [&](const auto& direction) {
            const auto z = direction.at(seed, at.order);
            exec.for_each((at.order.size + 3) / 4,
                          detail::shape_block<std::decay_t<decltype(z)>>{
                              z, at.order.key, at.order.size, 1 - smooth / probes,
                              smooth / probes * bend / 2, s.next.data()});
          },
          *at.direction);
    }
    g.loss = base;
  }

  /// The shape that the next step has, [k]; empty before the first step.
  template <executor X>
  [[nodiscard]] std::vector<float> save(const X& exec, const state& s) const {
    std::vector<float> out;
    (s.turned ? s.next : s.shape).append_to(exec, out);
    return out;
  }
  /// Throws on a shape that is not positive.
  template <executor X>
  void load(const X& exec, std::span<const float> saved, state& s) const {
    for (const float x : saved) {
      require(std::isfinite(x) && x > 0, name, ": a saved shape is ", x);
    }
    s.shape.restore(exec, saved);
    s.turned = false;
  }
};
static_assert(saved_estimator<hizoo, any_executor>);

}  // namespace zoq
