// One zeroth-order step: ask, evaluate, tell, and move the values. Whatever answers the queries may
// be a model, a plain function, or a record of an earlier run: the step can't tell.
//
//     stepper step(exec, order, estimator, optimizer, recipe);
//     step.advance(values, evaluate);     // evaluate(queries, answers) appends one answer a query
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/ops/pointwise.hpp"
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
  Field z;
  double weight;
  const float* shape;
  float* gradient;  // [k]
  index_t count;
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

template <class Rule>
struct apply_rule {
  Rule rule;
  const float* gradient;
  float* values;
  float* state;
  int state_floats;
  ZOQ_HD void operator()(index_t i) const {
    values[i] = rule(values[i], gradient[i], state == nullptr ? nullptr : state + i * state_floats);
  }
};

struct square_of {
  const float* x;
  ZOQ_HD double operator()(index_t i) const {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
};

/// What makes a run's steps, beside estimator and optimizer.
struct recipe {
  std::uint64_t steps = 0;
  seed_t seed = 0;
  any_direction direction = gaussian{};
  any_schedule schedule = constant{};
};

/// What a step did.
struct step_result {
  std::uint64_t step = 0;
  double loss = 0;
  double slope = 0;
  double schedule = 1;          // the factor on the rate
  std::vector<answer> answers;  // in the order in which they were asked for
};

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

template <executor X, estimator<X> Estimator, optimizer Optimizer>
class stepper {
 public:
  /// Keeps a reference to the executor. Memory: k floats, the optimizer's state and the estimator's.
  stepper(const X& exec, const value_order& order, Estimator estimator, Optimizer optimizer,
          const recipe& how)
      : exec_(exec),
        order_(order),
        estimator_(std::move(estimator)),
        optimizer_(optimizer),
        how_(how),
        direction_(direction_at(how.direction, how.seed, 0)),
        gradient_(exec.template allocate<float>(order.size)),
        state_(exec.template allocate<float>(order.size * Optimizer::state_floats)) {
    order_.on_host = on_host<typename X::space>;
  }

  /// The direction of the step that is being taken.
  [[nodiscard]] const any_direction& direction() const { return direction_; }
  [[nodiscard]] std::uint64_t next() const { return next_; }
  [[nodiscard]] bool done() const { return next_ >= how_.steps; }

  /// One step on `values` [k]. `evaluate(queries, answers)` appends one answer for each query.
  /// Throws when the values would stop being finite; they are then as they were but for that step.
  template <class Evaluate>
  step_result advance(float* values, Evaluate&& evaluate) {
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

  /// The optimizer's state [k * state_floats], for checkpoints.
  [[nodiscard]] tensor_view<float, 1> optimizer_state() const { return state_.view(state_.size()); }
  /// Goes on at `step`; values and optimizer state are the caller's to restore.
  void skip_to(std::uint64_t step) { next_ = step; }

  /// The estimator's state as floats, for checkpoints; empty when it has none. See estimator.hpp.
  [[nodiscard]] std::vector<float> estimator_state() const {
    return save_state(estimator_, exec_, estimator_state_);
  }
  void restore_estimator(std::span<const float> saved) {
    load_state(estimator_, exec_, saved, estimator_state_);
  }

  [[nodiscard]] index_t byte_count() const {
    return gradient_.byte_count() + state_.byte_count() + state_bytes_of(estimator_, order_.size);
  }

 private:
  void apply(const gradient& g, const step_result& result, float* values) {
    const index_t k = order_.size;
    const index_t blocks = (k + 3) / 4;
    clear(exec_, gradient_.view(1, k));
    any_direction earlier = direction_;
    for (const term& t : g.terms) {
      const bool now = t.step == term::this_step;
      if (!now) {
        earlier = direction_at(std::move(earlier), how_.seed, t.step);
      }
      std::visit(
          [&](const auto& z) {
            const auto field = z.at(t.seed, order_);
            exec_.for_each(blocks, add_term_block<std::decay_t<decltype(field)>>{
                                       field, t.weight, t.shape, gradient_.data(), k, order_.key});
          },
          now ? direction_ : earlier);
    }
    step_facts facts{result.step, result.schedule, result.loss, 0};
    if constexpr (Optimizer::needs_norm) {
      facts.gradient_norm2 = exec_.sum(k, square_of{gradient_.data()});
    }
    const auto rule = optimizer_.at(facts);
    exec_.for_each(k, apply_rule<std::decay_t<decltype(rule)>>{
                          rule, gradient_.data(), values, state_.data(), Optimizer::state_floats});
    require(std::isfinite(exec_.sum(k, square_of{values})), "step ", result.step,
            ": a value is no longer finite; the slope was ", result.slope);
  }

  const X& exec_;
  value_order order_;
  Estimator estimator_;
  Optimizer optimizer_;
  recipe how_;
  any_direction direction_;  // at this step
  typename Estimator::state estimator_state_{};
  buffer<float, typename X::space> gradient_, state_;  // [k], [k * state_floats]
  std::uint64_t next_ = 0;
};

}  // namespace zoq
