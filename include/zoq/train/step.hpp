// One zeroth-order step: ask, evaluate, tell, and move the values. Whatever answers the queries may
// be a model, a plain function, or a record of an earlier run: the step can't tell.
//
//     stepper step(exec, order, estimator, optimizer, recipe);
//     step.advance(values, evaluate);     // evaluate(queries, answers) appends one answer a query
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/optim/apply.hpp"
#include "zoq/optim/optimizer.hpp"
#include "zoq/optim/schedule.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/random/seeds.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// gradient += weight * shape * z, four elements, fused in double and rounded once.
template <field Field>
struct add_term_block {
  Field z;                       // of the term's seed
  double weight;                 // of the term
  const float* shape;            // [k] or null: ones
  float* gradient;               // [k]
  index_t count;                 // k
  const index_t* key = nullptr;  // [k] or null: of value_order

  ZOQ_HD void operator()(index_t block) const {
    const float4v noise = four_of(z, key, count, block);
    for (index_t j = 0; j < 4 && 4 * block + j < count; ++j) {
      const index_t i = 4 * block + j;
      const double along = weight * (shape == nullptr ? 1.0 : static_cast<double>(shape[i]));
      gradient[i] = static_cast<float>(
          std::fma(along, static_cast<double>(noise.at[j]), static_cast<double>(gradient[i])));
    }
  }
};

/// x *= by, element by element.
struct scale_values {
  float* x;   // [k]
  double by;  // the factor
  ZOQ_HD void operator()(index_t i) const {
    x[i] = static_cast<float>(static_cast<double>(x[i]) * by);
  }
};

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

/// Limits the derivative along every direction to +-`most`. A term's weight is its derivative over the
/// number of terms, in estimates that are means over directions, as spsa's is.
void clip_derivatives(gradient& g, double most);

/// The rate that an optimizer multiplies estimates with, or 0 where it names none.
template <class Optimizer>
double rate_of(const Optimizer& optimizer) {
  if constexpr (requires {
                  { optimizer.rate } -> std::convertible_to<double>;
                }) {
    return optimizer.rate;
  } else if constexpr (requires { optimizer.visit([](const auto&) {}); }) {
    return optimizer.visit([](const auto& one) { return rate_of(one); });
  } else {
    return 0;
  }
}

/// True when this estimator, or the chosen one of several, carries something from step to step.
template <executor X, class Estimator>
bool keeps_state(const Estimator& e) {
  if constexpr (requires { e.visit([](const auto&) { return true; }); }) {
    return e.visit([](const auto& one) { return keeps_state<X>(one); });
  } else {
    return saved_estimator<Estimator, X>;
  }
}

/// Takes the steps of a run, one after another.
template <executor X, estimator<X> Estimator, optimizer Optimizer>
class stepper {
 public:
  /// Keeps a reference to the executor. Memory: k floats, the optimizer's state and the estimator's.
  /// Throws on limits that make no sense.
  stepper(const X& exec, const value_order& order, Estimator estimator, Optimizer optimizer,
          const recipe& how)
      : exec_(exec),
        order_(order),
        estimator_(std::move(estimator)),
        optimizer_(optimizer),
        how_(how),
        direction_(direction_at(how.direction, how.seed, 0)),
        gradient_(exec.template allocate<float>(order.size)),
        state_(exec.template allocate<float>(state_size_of(optimizer, order))) {
    require(std::isfinite(how.clip) && how.clip >= 0, "clip: ", how.clip,
            ", wanted a finite number of at least 0");
    require(std::isfinite(how.clip_norm) && how.clip_norm >= 0, "clip_norm: ", how.clip_norm,
            ", wanted a finite number of at least 0");
    order_.on_host = on_host<typename X::space>;
  }

  /// The direction of the step that is being taken.
  [[nodiscard]] const any_direction& direction() const { return direction_; }
  /// The number of the step that comes next.
  [[nodiscard]] std::uint64_t next() const { return next_; }
  /// True when all steps were taken.
  [[nodiscard]] bool done() const { return next_ >= how_.steps; }

  /// One step on `values` [k].
  /// Throws `value_error` when the update makes a value NaN or infinite.
  step_result advance(float* values, answer_queries evaluate) {
    std::vector<query> asked, wanted;
    step_result out;
    out.schedule = factor(how_.schedule, next_, how_.steps);
    direction_ = direction_at(std::move(direction_), how_.seed, next_);
    const step_info at{.step = next_,
                       .seed = derive_seed(how_.seed, purpose::directions, next_),
                       .values = values,
                       .order = order_,
                       .direction = &direction_,
                       .rate = out.schedule * rate_of(optimizer_)};
    while (wanted.clear(), estimator_.ask(exec_, at, estimator_state_, out.answers, wanted)) {
      evaluate(std::span<const query>(wanted), out.answers);
      asked.insert(asked.end(), wanted.begin(), wanted.end());
      require(out.answers.size() == asked.size(), "step ", next_, ": ", out.answers.size(),
              " losses for ", asked.size(), " queries");
    }
    gradient g;
    estimator_.tell(exec_, at, estimator_state_, asked, out.answers, g);
    out.step = next_;
    out.loss = g.loss;
    out.slope = g.slope;
    out.flat = all_equal(out.answers);
    out.difference = loss_difference(asked, out.answers);
    apply(g, out, values);
    ++next_;
    return out;
  }

  /// The same with the losses of an earlier run. Throws unless exactly these are asked for.
  step_result replay(float* values, std::span<const answer> recorded) {
    std::size_t used = 0;
    step_result out =
        advance(values, [&](std::span<const query> asked, std::vector<answer>& answers) {
          require(used + asked.size() <= recorded.size(), "step ", next_, ": the record has ",
                  recorded.size(), " losses, more are asked");
          const auto from = recorded.subspan(used, asked.size());
          answers.insert(answers.end(), from.begin(), from.end());
          used += asked.size();
        });
    require(used == recorded.size(), "step ", out.step, ": the record has ", recorded.size(),
            " losses, ", used, " are asked");
    return out;
  }

  /// The optimizer's state [state_size_of], in the executor's memory.
  [[nodiscard]] tensor_view<float, 1> optimizer_state() const { return state_.view(state_.size()); }
  /// The same on the host, for checkpoints.
  [[nodiscard]] std::vector<float> saved_optimizer() const {
    std::vector<float> out(static_cast<std::size_t>(state_.size()));
    exec_.download(state_.data(), state_.size(), out.data());
    return out;
  }
  /// What the estimator carries to the next step, for checkpoints; empty when that is nothing.
  [[nodiscard]] std::vector<float> saved_estimator() const {
    return save_state(estimator_, exec_, estimator_state_);
  }

  /// Goes on at `step` with what was saved there; the values are the caller's to restore. Throws when
  /// the states are not those of this optimizer and this estimator.
  void resume(std::uint64_t step, std::span<const float> optimizer_floats,
              std::span<const float> estimator_floats) {
    require(static_cast<index_t>(optimizer_floats.size()) == state_.size(), "step ", step, ": ",
            optimizer_floats.size(), " floats of state for an optimizer with ", state_.size());
    if (step > 0) {  // before there is nothing to keep
      require(!keeps_state<X>(estimator_) || !estimator_floats.empty(), "step ", step,
              ": the estimator's state is missing");
      load_state(estimator_, exec_, estimator_floats, estimator_state_);
    }
    exec_.upload(optimizer_floats.data(), state_.size(), state_.data());
    next_ = step;
  }
  /// Goes on at `step`; values and all state are the caller's to restore.
  void skip_to(std::uint64_t step) { next_ = step; }

  [[nodiscard]] index_t byte_count() const {
    return gradient_.byte_count() + state_.byte_count() + state_bytes_of(estimator_, order_.size);
  }

 private:
  void apply(gradient& g, const step_result& result, float* values) {
    const index_t k = order_.size;
    const index_t blocks = (k + 3) / 4;
    if (how_.clip > 0) {
      clip_derivatives(g, how_.clip);
    }
    clear(exec_, gradient_.view(1, k));
    std::optional<any_direction> earlier;  // what a direction computed may be large: rarely needed
    for (const term& t : g.terms) {
      const bool now = t.step == term::this_step;
      if (!now) {
        earlier = direction_at(earlier ? *std::move(earlier) : direction_, how_.seed, t.step);
      }
      std::visit(
          [&](const auto& z) {
            const auto field = z.at(t.seed, order_);
            exec_.for_each(blocks, add_term_block<std::decay_t<decltype(field)>>{
                                       field, t.weight, t.shape, gradient_.data(), k, order_.key});
          },
          now ? direction_ : *earlier);
    }
    if (how_.clip_norm > 0) {
      const double norm = std::sqrt(exec_.sum(k, square_of{gradient_.data()}));
      if (norm > how_.clip_norm) {
        exec_.for_each(k, scale_values{gradient_.data(), how_.clip_norm / norm});
      }
    }
    apply_optimizer(exec_, optimizer_, order_, {result.step, result.schedule, result.loss, 0},
                    gradient_.data(), state_.data(), values);
    if (!std::isfinite(exec_.sum(k, square_of{values}))) {
      refuse_values(result, values);
    }
  }

  [[noreturn]] void refuse_values(const step_result& result, const float* values) const {
    std::vector<float> all(static_cast<std::size_t>(order_.size));
    exec_.download(values, order_.size, all.data());
    const auto bad =
        std::find_if(all.begin(), all.end(), [](float v) { return !std::isfinite(v); });
    require(bad != all.end(), "step ", result.step, ": the values are too large to square");
    throw value_error(text("step ", result.step, ": the update made a value ", *bad,
                           "; the loss was ", result.loss, ", the slope ", result.slope,
                           ", the rate ", result.schedule * rate_of(optimizer_)),
                      static_cast<index_t>(bad - all.begin()));
  }

  const X& exec_;
  value_order order_;
  Estimator estimator_;
  Optimizer optimizer_;
  recipe how_;
  any_direction direction_;  // at this step
  typename Estimator::state estimator_state_{};
  buffer<float, typename X::space> gradient_, state_;  // [k], [state_size_of]
  std::uint64_t next_ = 0;
};

}  // namespace zoq

#if ZOQ_BODIES

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
  const double each = most / static_cast<double>(g.terms.size());
  for (term& t : g.terms) {
    t.weight = std::fmin(std::fmax(t.weight, -each), each);
  }
}

}  // namespace zoq

#endif
