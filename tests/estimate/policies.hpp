// Estimators that strain the seam, as a user would add them: none is part of the library.
//
//     conservative   a second round of questions, which depends on the first answers
//     svrg           other batches, an absolute origin, and a state of k floats
//     fzoo           weights that are divided by the spread of the losses
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/random/seeds.hpp"
#include "zoq/tensor/buffer.hpp"

namespace zoq::test {

/// Goes down the slope, up it, or stays: wherever the loss is least. With sgd of the same rate, the
/// points that it tries are those that a step reaches.
struct conservative {
  static constexpr std::string_view name = "conservative";
  using state = no_state;
  double epsilon = 1e-3, rate = 1e-2;

  [[nodiscard]] double slope(std::span<const answer> got) const {
    return (got[0].loss - got[1].loss) / (2 * epsilon);
  }
  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> got,
           std::vector<query>& wanted) const {
    if (got.empty()) {
      wanted.push_back({.seed = at.seed, .scale = epsilon});
      wanted.push_back({.seed = at.seed, .scale = -epsilon});
      return true;
    }
    if (got.size() == 2) {
      wanted.push_back({});
      wanted.push_back({.seed = at.seed, .scale = -rate * slope(got)});
      wanted.push_back({.seed = at.seed, .scale = rate * slope(got)});
      return true;
    }
    return false;
  }
  template <executor X>
  void tell(const X&, const step_info& at, state&, std::span<const query>,
            std::span<const answer> got, gradient& g) const {
    g.loss = got[2].loss;
    g.slope = slope(got);
    if (got[3].loss < got[2].loss && got[3].loss <= got[4].loss) {
      g.terms.push_back({at.seed, g.slope});
    } else if (got[4].loss < got[2].loss) {
      g.terms.push_back({at.seed, -g.slope});
    }
  }
};

/// The step's slope, less the same slope at an anchor, plus the anchor's estimate on all batches.
struct svrg {
  static constexpr std::string_view name = "svrg";
  struct state {
    buffer<float> anchor;    // [k]
    std::vector<term> full;  // the estimate at the anchor
  };
  struct copy {
    const float* from;
    float* to;
    void operator()(index_t i) const { to[i] = from[i]; }
  };
  double epsilon = 1e-3;
  std::uint64_t every = 10;   // steps between anchors
  std::uint64_t batches = 4;  // of which the anchor's estimate is made
  int probes = 1;             // for each batch

  template <executor X>
  bool ask(const X& exec, const step_info& at, state& s, std::span<const answer> got,
           std::vector<query>& wanted) const {
    if (!got.empty()) {
      return false;
    }
    const auto ask_both = [&](query q) {
      wanted.push_back(q);
      q.scale = -q.scale;
      wanted.push_back(q);
    };
    if (at.step % every == 0) {
      s.anchor = exec.template allocate<float>(at.order.size);
      exec.for_each(at.order.size, copy{at.values, s.anchor.data()});
      std::uint64_t probe = 0;
      for (std::uint64_t b = 0; b < batches; ++b) {
        for (int p = 0; p < probes; ++p) {
          ask_both({.seed = derive_seed(at.seed, purpose::probes, ++probe),
                    .scale = epsilon,
                    .batch = b});
        }
      }
    }
    ask_both({.seed = at.seed, .scale = epsilon});
    ask_both({.seed = at.seed, .scale = epsilon, .origin = s.anchor.data()});
    return true;
  }
  template <executor X>
  void tell(const X&, const step_info&, state& s, std::span<const query> asked,
            std::span<const answer> got, gradient& g) const {
    const std::size_t n = got.size() - 4;
    const auto slope = [&](std::size_t i) {
      return (got[i].loss - got[i + 1].loss) / (2 * epsilon);
    };
    if (n != 0) {
      s.full.clear();
      for (std::size_t i = 0; i < n; i += 2) {
        s.full.push_back({asked[i].seed, slope(i) / static_cast<double>(n / 2)});
      }
    }
    g.terms = s.full;
    g.slope = slope(n);
    g.loss = (got[n].loss + got[n + 1].loss) / 2;
    g.terms.push_back({asked[n].seed, slope(n) - slope(n + 2)});
  }
};

/// One-sided differences over the standard deviation of the losses: a step does not change when the
/// loss is multiplied by a number.
struct fzoo {
  static constexpr std::string_view name = "fzoo";
  using state = no_state;
  double epsilon = 1e-3;
  int probes = 8;

  template <executor X>
  bool ask(const X&, const step_info& at, state&, std::span<const answer> got,
           std::vector<query>& wanted) const {
    if (!got.empty()) {
      return false;
    }
    wanted.push_back({});
    for (int p = 0; p < probes; ++p) {
      wanted.push_back(
          {.seed = derive_seed(at.seed, purpose::probes, static_cast<std::uint64_t>(p)),
           .scale = epsilon});
    }
    return true;
  }
  template <executor X>
  void tell(const X&, const step_info&, state&, std::span<const query> asked,
            std::span<const answer> got, gradient& g) const {
    double mean = 0, variance = 0;
    for (std::size_t p = 1; p < got.size(); ++p) {
      mean += got[p].loss / probes;
    }
    for (std::size_t p = 1; p < got.size(); ++p) {
      variance += (got[p].loss - mean) * (got[p].loss - mean) / (probes - 1);
    }
    g.loss = got[0].loss;
    for (std::size_t p = 1; p < got.size() && variance > 0; ++p) {
      g.slope = (got[p].loss - got[0].loss) / epsilon;
      g.terms.push_back(
          {asked[p].seed, (got[p].loss - got[0].loss) / (probes * std::sqrt(variance))});
    }
  }
};

}  // namespace zoq::test
