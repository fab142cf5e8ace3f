// choose_epsilon: the step of a difference quotient, from measured noise and curvature.
//
// Along a direction z, with s the standard deviation of what rounding adds to a loss and keeps in
// the difference of a pair of losses:
//
//     D(e) = (L(w + e z) - L(w - e z)) / (2 e) = g + b e^2 + noise,   noise variance s^2 / (2 e^2)
//
// so the mean squared error s^2 / (2 e^2) + b^2 e^4 is least at  e = (s^2 / (4 b^2))^(1/6).
//
//     auto choice = zoq::choose_epsilon(losses, {.seed = 1});   // losses(queries): vector<double>
//     choice.epsilon;  choice.relative_error;
//
// s comes from quotients at steps h, 2 h and 4 h, so small that they differ by rounding alone: the
// variance of D(h) - D(2 h) is 5/4 of s^2 / (2 h^2), that of D(2 h) - D(4 h) a quarter of this. b comes
// from the quotients at two large steps: b = (D(2 E) - D(E)) / (3 E^2). Both are root mean squares
// over a few directions. Losses are asked for in pairs, because a pair is rounded together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/estimate/query.hpp"

namespace zoq {

/// How choose_epsilon and measure_noise probe. Steps are scales of queries.
struct epsilon_options {
  seed_t seed = 0;         // of the directions
  int directions = 4;      // that are measured; results are means over them
  double near = 2e-5;      // step at which curvature is far below rounding
  double far = 2e-2;       // step at which rounding is far below curvature
  double smallest = 1e-5;  // the least epsilon that is chosen
  double largest = 2e-2;   // the largest that is
};

/// For k values: probes are shorter where more values move, since what matters is how far the model moves.
epsilon_options epsilon_options_for(index_t k);

/// What choose_epsilon found. s and b are those above.
struct epsilon_choice {
  double epsilon = 0;         // to use
  double noise = 0;           // s: of a loss, as far as a pair does not share it
  double bias = 0;            // b: the quotient errs by b e^2
  double slope = 0;           // root mean square of the measured slopes
  double relative_error = 0;  // predicted rms error at epsilon, over `slope`
  index_t losses = 0;         // evaluated for this choice
};

/// What gives the losses at some points: one for each query.
using losses_at_queries = function_ref<std::vector<double>(std::span<const query>)>;

/// s alone, for an epsilon that is given: 6 losses for each direction, asked for pair by pair, so that it
/// takes no more memory than a step. Of `options` the seed, the directions and `near` count. Throws as
/// choose_epsilon does.
double measure_noise(losses_at_queries losses_at, const epsilon_options& options = {});

/// `losses_at` is called once for each direction with 10 queries, five pairs of opposite ones. Throws on losses
/// that are not finite.
epsilon_choice choose_epsilon(losses_at_queries losses_at, const epsilon_options& options = {});

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "zoq/core/error.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY epsilon_options epsilon_options_for(index_t k) {
  epsilon_options out;
  const double shorter =
      std::fmin(1.0, std::sqrt(static_cast<double>(1 << 20) / static_cast<double>(k)));
  for (double* length : {&out.near, &out.far, &out.smallest, &out.largest}) {
    *length *= shorter;
  }
  return out;
}

namespace detail {

/// Pairs of opposite points along direction `d`, at these steps.
ZOQ_BODY std::vector<query> pairs_along(const epsilon_options& options, int d,
                                        std::initializer_list<double> steps) {
  const seed_t seed =
      derive_seed(options.seed, purpose::directions, ~static_cast<std::uint64_t>(d));
  std::vector<query> out;
  for (const double at : steps) {
    out.push_back({.seed = seed, .scale = at});
    out.push_back({.seed = seed, .scale = -at});
  }
  return out;
}

/// The losses at these points. Throws when one is not finite.
ZOQ_BODY std::vector<double> finite_losses(losses_at_queries losses_at,
                                           std::span<const query> wanted, const char* what) {
  const std::vector<double> loss = losses_at(wanted);
  require(loss.size() == wanted.size(), what, ": ", loss.size(), " losses for ", wanted.size(),
          " points");
  for (const double l : loss) {
    require(std::isfinite(l), what, ": a loss is ", l);
  }
  return loss;
}

/// (L(w + e z) - L(w - e z)) / (2 e) of a pair.
ZOQ_BODY double quotient(std::span<const query> at, std::span<const double> loss,
                         std::size_t pair) {
  return (loss[2 * pair] - loss[2 * pair + 1]) / (2 * at[2 * pair].scale);
}

/// s^2 by one direction, from its pairs at h, 2 h and 4 h.
ZOQ_BODY double noise_variance(std::span<const query> at, std::span<const double> loss) {
  const double h = at[0].scale;
  const double first = quotient(at, loss, 0) - quotient(at, loss, 1);
  const double second = quotient(at, loss, 1) - quotient(at, loss, 2);
  return h * h * (first * first * 4 / 5 + second * second * 16 / 5);
}

}  // namespace detail

ZOQ_BODY double measure_noise(losses_at_queries losses_at, const epsilon_options& options) {
  require(options.directions >= 1 && options.near > 0,
          "measure_noise: wanted at least one direction and 0 < near");
  const double h = options.near;
  double variance = 0;
  for (int d = 0; d < options.directions; ++d) {
    const auto wanted = detail::pairs_along(options, d, {h, 2 * h, 4 * h});
    std::vector<double> loss;
    for (std::size_t i = 0; i < wanted.size(); i += 2) {
      const auto two = detail::finite_losses(
          losses_at, std::span<const query>(wanted).subspan(i, 2), "measure_noise");
      loss.insert(loss.end(), two.begin(), two.end());
    }
    variance += detail::noise_variance(wanted, loss) / options.directions;
  }
  return std::sqrt(variance);
}

ZOQ_BODY epsilon_choice choose_epsilon(losses_at_queries losses_at,
                                       const epsilon_options& options) {
  require(options.directions >= 1 && options.near > 0 && options.far > options.near,
          "choose_epsilon: wanted at least one direction and 0 < near < far");
  require(options.smallest > 0 && options.largest >= options.smallest,
          "choose_epsilon: epsilon between ", options.smallest, " and ", options.largest,
          ", wanted 0 < smallest <= largest");
  const double h = options.near;
  const double e = options.far;
  double variance = 0, cubic = 0, slope = 0;
  index_t count = 0;
  for (int d = 0; d < options.directions; ++d) {
    const auto wanted = detail::pairs_along(options, d, {h, 2 * h, 4 * h, e, 2 * e});
    const auto loss = detail::finite_losses(losses_at, wanted, "choose_epsilon");
    count += static_cast<index_t>(loss.size());
    variance += detail::noise_variance(wanted, loss) / options.directions;
    const double one = detail::quotient(wanted, loss, 3);
    const double two = detail::quotient(wanted, loss, 4);
    const double b = (two - one) / (3 * e * e);
    cubic += b * b / options.directions;
    slope += one * one / options.directions;
  }
  epsilon_choice out;
  out.noise = std::sqrt(variance);
  out.bias = std::sqrt(cubic);
  out.slope = std::sqrt(slope);
  out.losses = count;
  const double best = std::pow(out.noise * out.noise / (4 * out.bias * out.bias), 1.0 / 6);
  // No noise: as small as allowed. No curvature: as large as allowed.
  out.epsilon = out.noise == 0  ? options.smallest
                : out.bias == 0 ? options.largest
                                : std::clamp(best, options.smallest, options.largest);
  const double rounding = out.noise * out.noise / (2 * out.epsilon * out.epsilon);
  const double curvature = out.bias * out.epsilon * out.epsilon;
  out.relative_error =
      out.slope == 0 ? 0.0 : std::sqrt(rounding + curvature * curvature) / out.slope;
  return out;
}

}  // namespace zoq

#endif
