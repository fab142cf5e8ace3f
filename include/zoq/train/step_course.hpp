// What the steps of a run are, as far as it depends on no executor, estimator or optimizer: settings, results,
// and the course of a step.
//
//     zoq::recipe how{.steps = 400, .seed = 1};      // of a stepper: train/step.hpp
//     zoq::step_result r = step.advance(values, evaluate);
//     r.loss;  r.slope;  r.flat;
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/optim/schedule.hpp"
#include "zoq/random/directions.hpp"

namespace zoq {

/// What makes a run's steps, beside estimator and optimizer.
struct recipe {
  std::uint64_t steps = 0;               // of the whole run
  seed_t seed = 0;                       // of the run
  any_direction direction = gaussian{};  // of the probes
  any_schedule schedule = constant{};    // of the rate
  double clip = 0;                       // the largest derivative along a direction; 0: no limit
  double clip_norm = 0;                  // the largest norm of an estimate; 0: no limit
};

/// What answers a step's queries: appends one answer for each.
using answer_queries = function_ref<void(std::span<const query>, std::vector<answer>&)>;

/// What a step did.
struct step_result {
  std::uint64_t step = 0;       // its number, from 0
  double loss = 0;              // at or near the values
  double slope = 0;             // along the (last) direction
  double schedule = 1;          // the factor on the rate
  std::vector<answer> answers;  // in the order in which they were asked for
  /// All losses were the same, so that the estimate is zero whatever the slope is: as where an
  /// objective counts answers, and no branch changes one. A run of such steps learns nothing.
  bool flat = false;
  double difference = 0;  // of the losses that the estimate is made of: loss_difference
};

/// Thrown when an update makes a value NaN or infinite; the values are then not to be used.
class value_error : public error {
 public:
  /// `at` is the number of the value.
  value_error(const std::string& what, index_t at) : error(what), value(at) {}
  index_t value;  // which of the k
};

/// True when there are two losses or more, all the same.
bool all_equal(std::span<const answer> answers);

/// Root mean square of the differences of losses that an estimate is made of: between the two ends of
/// every pair, and between any other point and the first such one of the same batch. 0 when there are
/// none.
double loss_difference(std::span<const query> asked, std::span<const answer> answers);

/// Limits the derivative along every direction to +-`most`. A term's weight is its derivative over the number of
/// terms of the same step, in estimates that are means over directions, as spsa's is; svrg's is the sum of two, that
/// of an earlier step and what this one adds. Terms of a step stand together.
void clip_derivatives(gradient& g, double most);

namespace detail {

/// The directions of a gradient's terms, at the step that is taken and at earlier ones.
class term_directions {
 public:
  /// `now` must outlive it.
  term_directions(const any_direction& now, seed_t run) : now_(now), run_(run) {}
  /// Valid until the next call.
  const any_direction& of(const term& t);

 private:
  const any_direction& now_;
  seed_t run_;
  std::vector<any_direction>
      earlier_;  // what a direction computed may be large: one at most, and rarely
};

/// A stepper as far as it depends on no executor, estimator or optimizer.
class step_course {
 public:
  /// The direction of the step that is being taken.
  [[nodiscard]] const any_direction& direction() const { return direction_; }
  /// The number of the step that comes next.
  [[nodiscard]] std::uint64_t next() const { return next_; }
  /// True when all steps were taken.
  [[nodiscard]] bool done() const { return next_ >= how_.steps; }
  /// Goes on at `step`; values and all state are the caller's to restore.
  void skip_to(std::uint64_t step) { next_ = step; }

 protected:
  using ask_more =
      function_ref<bool(const step_info&, std::span<const answer>, std::vector<query>&)>;
  using tell_all = function_ref<void(const step_info&, std::span<const query>,
                                     std::span<const answer>, gradient&)>;

  step_course(const value_order& order, const recipe& how, bool on_host);
  step_course(step_course&&) noexcept;
  ~step_course();

  // Asks for losses until the estimator knows enough, and gives its estimate.
  step_result estimate(float* values, double rate, answer_queries evaluate, ask_more ask,
                       tell_all tell, gradient& g);
  // A step with the losses of an earlier run.
  step_result replayed(std::span<const answer> recorded,
                       function_ref<step_result(answer_queries)> advance) const;
  void require_states(std::uint64_t step, std::size_t optimizer_floats, index_t wanted,
                      bool estimator_missing) const;
  [[noreturn]] void refuse_values(std::span<const float> all, const step_result& result,
                                  double rate) const;

  value_order order_;
  recipe how_;
  any_direction direction_;  // at this step
  std::uint64_t next_ = 0;
};

}  // namespace detail
}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <utility>

#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY bool all_equal(std::span<const answer> answers) {
  return answers.size() > 1 && std::all_of(answers.begin(), answers.end(), [&](const answer& a) {
           return a.loss == answers[0].loss;
         });
}

ZOQ_BODY double loss_difference(std::span<const query> asked, std::span<const answer> answers) {
  double sum = 0;
  index_t count = 0;
  const auto add = [&](std::size_t a, std::size_t b) {
    const double d = answers[a].loss - answers[b].loss;
    sum += d * d;
    ++count;
  };
  std::vector<std::size_t> first;  // single points, one a batch: a few at most
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (i + 1 < asked.size() && opposite(asked[i], asked[i + 1])) {
      add(i, i + 1);
      ++i;
      continue;
    }
    const auto base = std::find_if(first.begin(), first.end(),
                                   [&](std::size_t f) { return asked[f].batch == asked[i].batch; });
    if (base == first.end()) {
      first.push_back(i);
    } else {
      add(i, *base);
    }
  }
  return count == 0 ? 0.0 : std::sqrt(sum / static_cast<double>(count));
}

ZOQ_BODY void clip_derivatives(gradient& g, double most) {
  for (auto first = g.terms.begin(); first != g.terms.end();) {
    const auto last =
        std::find_if(first, g.terms.end(), [&](const term& t) { return t.step != first->step; });
    const double each = most / static_cast<double>(last - first);
    for (; first != last; ++first) {
      first->weight = std::fmin(std::fmax(first->weight, -each), each);
    }
  }
}

namespace detail {

ZOQ_BODY const any_direction& term_directions::of(const term& t) {
  if (t.step == term::this_step) {
    return now_;
  }
  any_direction made = direction_at(earlier_.empty() ? now_ : std::move(earlier_[0]), run_, t.step);
  earlier_.clear();
  return earlier_.emplace_back(std::move(made));
}

ZOQ_BODY step_course::step_course(const value_order& order, const recipe& how, bool on_host)
    : order_(order), how_(how), direction_(direction_at(how.direction, how.seed, 0)) {
  require(std::isfinite(how.clip) && how.clip >= 0, "clip: ", how.clip,
          ", wanted a finite number of at least 0");
  require(std::isfinite(how.clip_norm) && how.clip_norm >= 0, "clip_norm: ", how.clip_norm,
          ", wanted a finite number of at least 0");
  order_.on_host = on_host;
}

ZOQ_BODY step_course::step_course(step_course&&) noexcept = default;
ZOQ_BODY step_course::~step_course() = default;

ZOQ_BODY step_result step_course::estimate(float* values, double rate, answer_queries evaluate,
                                           ask_more ask, tell_all tell, gradient& g) {
  std::vector<query> asked, wanted;
  step_result out;
  out.step = next_;
  out.schedule = factor(how_.schedule, next_, how_.steps);
  direction_ = direction_at(std::move(direction_), how_.seed, next_);
  const step_info at{.step = next_,
                     .seed = derive_seed(how_.seed, purpose::directions, next_),
                     .values = values,
                     .order = order_,
                     .direction = &direction_,
                     .rate = out.schedule * rate};
  while (wanted.clear(), ask(at, out.answers, wanted)) {
    evaluate(std::span<const query>(wanted), out.answers);
    asked.insert(asked.end(), wanted.begin(), wanted.end());
    require(out.answers.size() == asked.size(), "step ", next_, ": ", out.answers.size(),
            " losses for ", asked.size(), " queries");
  }
  tell(at, asked, out.answers, g);
  out.loss = g.loss;
  out.slope = g.slope;
  out.flat = all_equal(out.answers);
  out.difference = loss_difference(asked, out.answers);
  if (how_.clip > 0) {
    clip_derivatives(g, how_.clip);
  }
  return out;
}

ZOQ_BODY step_result step_course::replayed(
    std::span<const answer> recorded, function_ref<step_result(answer_queries)> advance) const {
  std::size_t used = 0;
  const auto evaluate = [&](std::span<const query> asked, std::vector<answer>& answers) {
    require(used + asked.size() <= recorded.size(), "step ", next_, ": the record has ",
            recorded.size(), " losses, more are asked");
    const auto from = recorded.subspan(used, asked.size());
    answers.insert(answers.end(), from.begin(), from.end());
    used += asked.size();
  };
  step_result out = advance(evaluate);
  require(used == recorded.size(), "step ", out.step, ": the record has ", recorded.size(),
          " losses, ", used, " are asked");
  return out;
}

ZOQ_BODY void step_course::require_states(std::uint64_t step, std::size_t optimizer_floats,
                                          index_t wanted, bool estimator_missing) const {
  require(static_cast<index_t>(optimizer_floats) == wanted, "step ", step, ": ", optimizer_floats,
          " floats of state for an optimizer with ", wanted);
  require(step == 0 || !estimator_missing, "step ", step, ": the estimator's state is missing");
}

ZOQ_BODY void step_course::refuse_values(std::span<const float> all, const step_result& result,
                                         double rate) const {
  const auto bad = std::find_if(all.begin(), all.end(), [](float v) { return !std::isfinite(v); });
  require(bad != all.end(), "step ", result.step, ": the values are too large to square");
  throw value_error(
      text("step ", result.step, ": the update made a value ", *bad, "; the loss was ", result.loss,
           ", the slope ", result.slope, ", the rate ", result.schedule * rate),
      static_cast<index_t>(bad - all.begin()));
}

}  // namespace detail

}  // namespace zoq

#endif
