// svrg: two-sided estimates, less what they are at an anchor, plus a better estimate of the anchor.
//
//     every n steps, at step t:   a = w;  g = G = mean over batches t ... t + m - 1 of the estimate there
//     other steps:                g = 1/q sum_p (slope(w, z_p) - slope(a, z_p)) z_p + G
//
// Both slopes are of the step's own batch and of one direction, so that what batch and direction add
// by chance cancels while w is near a.
//
//     zoq::svrg estimator{.epsilon = 5e-3, .every = 10, .batches = 4};
//
// The anchor's batches are those of the coming steps: a function of the step, so a record replays.
// Memory: a, 4 bytes a value, and the seeds and weights of G. Gautam et al., "Variance-reduced
// Zeroth-Order Methods for Fine-Tuning Language Models", arXiv 2404.08080.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/kept_values.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/tensor/memory_part.hpp"

namespace zoq {

struct svrg {
  static constexpr std::string_view name = "svrg";
  static constexpr std::string_view summary =
      "estimates less those at an anchor, plus the anchor's over several batches";
  static constexpr std::string_view paper = "arXiv 2404.08080";
  static constexpr std::string_view cost =
      "4 q forwards, 2 q m every n-th step; 4 k bytes of state";
  struct state {
    bool anchored = false;   // whether there is an anchor yet
    kept_values anchor;      // [k]
    std::vector<term> full;  // G: the estimate at the anchor
  };
  double epsilon = 5e-3;
  int probes = 1;
  std::uint64_t every = 10;   // n: steps from anchor to anchor
  std::uint64_t batches = 4;  // m: of which the anchor's estimate is made

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("epsilon", self.epsilon);
    f("probes", self.probes);
    f("every", self.every);
    f("batches", self.batches);
  }
  /// Bytes of the anchor, for k values.
  [[nodiscard]] static index_t state_bytes(index_t k) { return buffer_bytes<float>(k); }

  /// Throws at a step between anchors when it has none: its state was not restored.
  template <executor X>
  bool ask(const X& exec, const step_info& at, state& s, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    detail::require_settings(name, epsilon, probes);
    require(every >= 1 && batches >= 1, name, ": every is ", every, " and batches ", batches,
            ", wanted at least 1");
    require(batches <= (1u << 16) / static_cast<std::uint64_t>(probes), name, ": ", batches,
            " batches of ", probes, " probes, wanted at most 65,536 directions");
    if (!answers.empty()) {
      return false;
    }
    if (at.step % every == 0) {
      s.anchor.reserve(exec, at.order.size);
      s.anchor.assign(exec, at.values);
      s.anchored = true;
      for (std::uint64_t b = 0; b < batches; ++b) {
        for (int p = 0; p < probes; ++p) {
          const int number = static_cast<int>(b) * probes + p;
          detail::push_pair(
              wanted, {.seed = probe_seed(at, number), .scale = epsilon, .batch = at.step + b});
        }
      }
      return true;
    }
    require(s.anchored && s.anchor.size() == at.order.size, name, ": step ", at.step,
            " needs the anchor of step ", at.step / every * every,
            "; restore its state, or take the steps from there again");
    for (int p = 0; p < probes; ++p) {
      const query q{.seed = probe_seed(at, p), .scale = epsilon};
      detail::push_pair(wanted, q);
      detail::push_pair(wanted, {.seed = q.seed, .scale = q.scale, .origin = s.anchor.data()});
    }
    return true;
  }

  template <executor X>
  void tell(const X&, const step_info& at, state& s, std::span<const query> asked,
            std::span<const answer> answers, gradient& g) const {
    detail::require_finite(at, answers);
    if (at.step % every == 0) {
      s.full.clear();
      for (std::size_t p = 0; 2 * p < answers.size(); ++p) {
        g.slope = detail::slope_of_pair(answers, p, epsilon);
        const double share = static_cast<double>(answers.size() / 2);
        s.full.push_back({asked[2 * p].seed, g.slope / share, nullptr, at.step});
      }
      g.terms = s.full;
      g.loss = detail::mean_loss(answers);
      return;
    }
    g.terms = s.full;
    for (std::size_t p = 0; 4 * p < answers.size(); ++p) {
      g.slope = detail::slope_of_pair(answers, 2 * p, epsilon);
      const double there = detail::slope_of_pair(answers, 2 * p + 1, epsilon);
      g.terms.push_back({asked[4 * p].seed, (g.slope - there) / probes});
      g.loss += detail::mean_loss(answers.subspan(4 * p, 2)) / probes;
    }
  }

  /// The terms of G, its step, then the anchor: 8 floats and 8 for each term more than k.
  template <executor X>
  [[nodiscard]] std::vector<float> save(const X& exec, const state& s) const {
    std::vector<float> out;
    if (s.anchored) {
      append_word(static_cast<std::uint64_t>(s.full.size()), out);
      append_word(s.full.empty() ? std::uint64_t{0} : s.full[0].step, out);
      for (const term& t : s.full) {
        append_word(t.seed, out);
        append_word(t.weight, out);
      }
      s.anchor.append_to(exec, out);
    }
    return out;
  }
  /// Throws on what is no state: too short, or with a weight that is not finite.
  template <executor X>
  void load(const X& exec, std::span<const float> saved, state& s) const {
    s.full.clear();
    s.anchored = !saved.empty();
    if (s.anchored) {
      const std::uint64_t terms = take_word(saved);
      const std::uint64_t step = take_word(saved);
      require(terms <= saved.size() / 8, name, ": a saved state of ", terms, " terms ends early");
      for (std::uint64_t t = 0; t < terms; ++t) {
        const seed_t seed = take_word(saved);
        const auto weight = std::bit_cast<double>(take_word(saved));
        require(std::isfinite(weight), name, ": a saved weight is ", weight);
        s.full.push_back({seed, weight, nullptr, step});
      }
    }
    s.anchor.restore(exec, saved);
  }
};
static_assert(saved_estimator<svrg, any_executor>);

}  // namespace zoq
