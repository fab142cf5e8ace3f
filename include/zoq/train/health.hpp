// run_health: whether a run learns. How far the losses of a step lie apart against what rounding alone
// would part them, and whether the loss runs away.
//
//     zoq::run_health health({.noise = choice.noise});
//     const zoq::step_result r = trainer.advance();
//     health.note(r.loss, health.signal_to_noise(r.difference));
//     if (health.noisy()) ...       // the estimates are mostly rounding
//     if (health.diverged()) ...    // no use to go on
//
// With s the rounding noise of a loss (estimate/epsilon.hpp) and d the root mean square of the differences
// of losses that a step's estimate is made of (loss_difference),
//
//     signal to noise = d / (sqrt(2) s)
//
// is 1 on average of squares where nothing but rounding parts the losses; at 2 rounding is a quarter of the
// square of an estimate. s is that of a pair, which is rounded together: for estimators of single points
// the figure is an upper bound.
//
// A run has diverged when the running mean of its losses has been more than `divergence` times
// max(mean of the first `window` losses, 1) for `patience` steps, one after another. The 1 (a nat) keeps a run
// that starts near zero from being stopped by a bad batch.
//
// Nothing here changes a step. Cost: a few operations a step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "zoq/core/config.hpp"

namespace zoq {

/// What is noisy, and what has diverged.
struct health_options {
  double noise = 0;         // s; 0: not known, and there is no figure
  double divergence = 2;    // see above; 0: never
  index_t window = 20;      // steps that a running mean remembers
  index_t patience = 50;    // steps
  double least_signal = 2;  // below it, over the window, estimates are noisy
};

/// Watches a run by the losses of its steps.
class run_health {
 public:
  /// Throws on options that make no sense.
  explicit run_health(const health_options& options = {});

  /// Of one step, from step_result::difference; none where the noise is not known.
  [[nodiscard]] std::optional<double> signal_to_noise(double difference) const;

  /// One step: its loss and its figure, also those of steps that an earlier process took.
  void note(double loss, const std::optional<double>& figure);

  /// Root of the running mean of squares; none before there is one.
  [[nodiscard]] std::optional<double> signal_to_noise() const;
  /// The estimates of the last `window` steps are mostly rounding.
  [[nodiscard]] bool noisy() const;

  /// The running mean of losses.
  [[nodiscard]] double loss() const { return recent_; }
  /// The mean of the first `window` losses, or of as many as there are.
  [[nodiscard]] double first_loss() const { return first_; }
  /// The mean has been far above the first one for long enough.
  [[nodiscard]] bool diverged() const {
    return o_.divergence > 0 && steps_ > o_.window && above_ >= o_.patience;
  }

 private:
  [[nodiscard]] double limit() const;

  health_options o_;
  index_t steps_ = 0, figures_ = 0;
  index_t above_ = 0;  // steps above the limit, one after another
  double recent_ = 0, first_ = 0, square_ = 0;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY run_health::run_health(const health_options& options) : o_(options) {
  require(std::isfinite(o_.noise) && o_.noise >= 0, "health: the noise is ", o_.noise);
  require(std::isfinite(o_.divergence) && o_.divergence >= 0, "health: divergence is ",
          o_.divergence, ", wanted a finite number of at least 0");
  require(std::isfinite(o_.least_signal) && o_.least_signal >= 0, "health: the least signal is ",
          o_.least_signal, ", wanted a finite number of at least 0");
  require(o_.window >= 1 && o_.patience >= 1, "health: window and patience must be positive");
}

ZOQ_BODY std::optional<double> run_health::signal_to_noise(double difference) const {
  return o_.noise > 0 ? std::optional(difference / (std::sqrt(2.0) * o_.noise)) : std::nullopt;
}

ZOQ_BODY void run_health::note(double loss, const std::optional<double>& figure) {
  ++steps_;
  const auto seen = static_cast<double>(std::min(steps_, o_.window));
  recent_ += (loss - recent_) / seen;
  if (steps_ <= o_.window) {
    first_ = recent_;
  }
  above_ = recent_ > limit() ? above_ + 1 : 0;
  if (figure.has_value()) {
    ++figures_;
    square_ += (*figure * *figure - square_) / static_cast<double>(std::min(figures_, o_.window));
  }
}

ZOQ_BODY std::optional<double> run_health::signal_to_noise() const {
  return figures_ > 0 ? std::optional(std::sqrt(square_)) : std::nullopt;
}

ZOQ_BODY bool run_health::noisy() const {
  return figures_ >= o_.window && square_ < o_.least_signal * o_.least_signal;
}

ZOQ_BODY double run_health::limit() const { return o_.divergence * std::fmax(first_, 1.0); }

}  // namespace zoq

#endif
