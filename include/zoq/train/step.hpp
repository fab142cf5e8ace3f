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
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/estimate/estimator.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/optim/apply.hpp"
#include "zoq/optim/optimizer.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/train/step_course.hpp"

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

namespace detail {

/// to <- the sum of g's terms, and no longer than `longest`, where that is not 0. `now`: the direction at the
/// step that is taken, of the run of this seed.
template <executor X>
void add_terms(const X& exec, const gradient& g, const any_direction& now, seed_t run,
               const value_order& order, double longest, tensor_view<float, 2> to) {
  const index_t k = order.size;
  clear(exec, to);
  term_directions directions(now, run);
  for (const term& t : g.terms) {
    std::visit(
        [&](const auto& z) {
          const auto field = z.at(t.seed, order);
          exec.for_each((k + 3) / 4, add_term_block<std::decay_t<decltype(field)>>{
                                         field, t.weight, t.shape, to.data, k, order.key});
        },
        directions.of(t));
  }
  if (longest > 0) {
    const double norm = std::sqrt(exec.sum(k, square_of{to.data}));
    if (norm > longest) {
      exec.for_each(k, scale_values{to.data, longest / norm});
    }
  }
}

/// Whether none of the values [k] is NaN or infinite, nor too large to square.
template <executor X>
bool all_finite(const X& exec, index_t k, const float* values) {
  return std::isfinite(exec.sum(k, square_of{values}));
}

}  // namespace detail

/// Takes the steps of a run, one after another.
template <executor X, estimator<X> Estimator, optimizer Optimizer>
class stepper : public detail::step_course {
 public:
  /// Keeps a reference to the executor. Memory: k floats, the optimizer's state and the estimator's.
  /// Throws on limits that make no sense.
  stepper(const X& exec, const value_order& order, Estimator estimator, Optimizer optimizer,
          const recipe& how)
      : step_course(order, how, on_host<typename X::space>),
        exec_(exec),
        estimator_(std::move(estimator)),
        optimizer_(optimizer),
        gradient_(exec.template allocate<float>(order.size)),
        state_(exec.template allocate<float>(state_size_of(optimizer, order))) {}

  /// One step on `values` [k].
  /// Throws `value_error` when the update makes a value NaN or infinite.
  step_result advance(float* values, answer_queries evaluate) {
    gradient g;
    const step_result out = estimate(
        values, rate_of(optimizer_), evaluate,
        [&](const step_info& at, std::span<const answer> answers, std::vector<query>& wanted) {
          return estimator_.ask(exec_, at, estimator_state_, answers, wanted);
        },
        [&](const step_info& at, std::span<const query> asked, std::span<const answer> answers,
            gradient& to) { estimator_.tell(exec_, at, estimator_state_, asked, answers, to); },
        g);
    detail::add_terms(exec_, g, direction_, how_.seed, order_, how_.clip_norm,
                      gradient_.view(1, order_.size));
    apply_optimizer(exec_, optimizer_, order_, {out.step, out.schedule, out.loss, 0},
                    gradient_.data(), state_.data(), values);
    if (!detail::all_finite(exec_, order_.size, values)) {
      refuse_values(detail::downloaded(exec_, values, order_.size), out, rate_of(optimizer_));
    }
    ++next_;
    return out;
  }

  /// The same with the losses of an earlier run. Throws unless exactly these are asked for.
  step_result replay(float* values, std::span<const answer> recorded) {
    return replayed(recorded, [&](answer_queries evaluate) { return advance(values, evaluate); });
  }

  /// The optimizer's state [state_size_of], in the executor's memory.
  [[nodiscard]] tensor_view<float, 1> optimizer_state() const { return state_.view(state_.size()); }
  /// The same on the host, for checkpoints.
  [[nodiscard]] std::vector<float> saved_optimizer() const {
    return detail::downloaded(exec_, state_.data(), state_.size());
  }
  /// What the estimator carries to the next step, for checkpoints; empty when that is nothing.
  [[nodiscard]] std::vector<float> saved_estimator() const {
    return save_state(estimator_, exec_, estimator_state_);
  }

  /// Goes on at `step` with what was saved there; the values are the caller's to restore. Throws when
  /// the states are not those of this optimizer and this estimator.
  void resume(std::uint64_t step, std::span<const float> optimizer_floats,
              std::span<const float> estimator_floats) {
    require_states(step, optimizer_floats.size(), state_.size(),
                   keeps_state<X>(estimator_) && estimator_floats.empty());
    if (step > 0) {  // before there is nothing to keep
      load_state(estimator_, exec_, estimator_floats, estimator_state_);
    }
    exec_.upload(optimizer_floats.data(), state_.size(), state_.data());
    next_ = step;
  }

  [[nodiscard]] index_t byte_count() const {
    return gradient_.byte_count() + state_.byte_count() + state_bytes_of(estimator_, order_.size);
  }

 private:
  const X& exec_;
  Estimator estimator_;
  Optimizer optimizer_;
  typename Estimator::state estimator_state_{};
  buffer<float, typename X::space> gradient_, state_;  // [k], [state_size_of]
};

}  // namespace zoq
