// trainer: tunes the values of a view by forward passes alone.
//
//     zoq::trainer trainer{exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{}};
//     trainer.run(rows, {.steps = 400});
//
// A step asks the estimator for branches, moves the view to all of them, evaluates the batch once
// with the branches stacked, and applies the estimate. The batch is a function of (seed, step).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/data/example.hpp"
#include "zoq/estimate/epsilon.hpp"
#include "zoq/train/evaluate.hpp"
#include "zoq/train/reference.hpp"
#include "zoq/train/step.hpp"
#include "zoq/train/team.hpp"
#include "zoq/train/training.hpp"
#include "zoq/view/value_blocks.hpp"
#include "zoq/view/view.hpp"

namespace zoq {

template <executor X, class Model, parameter_view<X> View, objective Objective,
          estimator<X> Estimator, optimizer Optimizer, team Team = alone>
class trainer : public detail::training {
 public:
  /// Keeps references: executor, model and view must outlive the trainer. With a team, all of its processes
  /// make the same calls with the same rows and settings.
  trainer(const X& exec, const Model& model, View& view, Objective objective, Estimator estimator,
          Optimizer optimizer, Team together = {})
      : exec_(exec),
        view_(view),
        objective_(std::move(objective)),
        estimator_(std::move(estimator)),
        optimizer_(optimizer),
        team_(std::move(together)),
        pass_(forward_of(exec, model)) {}

  /// Prepares a run over `rows`, which must outlive it. Throws when there are none.
  void start(std::span<const example> rows, const train_options& options) {
    begin(rows, options);
    step_.emplace(exec_, view_.order(), estimator_, optimizer_, steps_recipe());
    if (team_.size() > 1) {
      hash_settings(values_on_host());
    }
  }

  /// Starts, takes all steps, and leaves the view at its last values. `after(step_result)` may
  /// return false to stop early.
  void run(std::span<const example> rows, const train_options& options,
           function_ref<bool(const step_result&)> after) {
    start(rows, options);
    while (!step_->done() && after(advance())) {
    }
    view_.move_to_values(exec_);
  }
  /// The same, without `after`.
  void run(std::span<const example> rows, const train_options& options) {
    run(rows, options, [](const step_result&) { return true; });
  }

  /// One step. Throws, naming the step, and the row when it is one of the data's; on a loss that is not
  /// finite also how large the values are, and on a value that is not, the tensor. The values are not to be
  /// used after the latter.
  step_result advance() {
    const std::uint64_t now = step_->next();
    const auto evaluate = [&](std::span<const query> asked, std::vector<answer>& answers) {
      naming_step(
          now, [&] { losses(asked, now, answers); }, [&] { return largest_value(); });
    };
    return naming_values([&] { return step_->advance(view_.values().data, evaluate); });
  }

  /// One recorded step: the same, with the losses of an earlier run instead of forwards.
  step_result replay(std::span<const answer> recorded) {
    return naming_values([&] { return step_->replay(view_.values().data, recorded); });
  }

  /// Chooses the epsilon on the first batch; see estimate/epsilon.hpp. Changes nothing. `before()` is
  /// called before each direction, and may throw to stop.
  epsilon_choice measure_epsilon(epsilon_options how, function_ref<void()> before) {
    how.seed = options_.seed;
    const auto choice = choose_epsilon(
        [&](std::span<const query> asked) { return first_losses(asked, before); }, how);
    view_.move_to_values(exec_);
    return choice;
  }
  /// The same, without `before`.
  epsilon_choice measure_epsilon(const epsilon_options& how = {}) {
    return measure_epsilon(how, [] {});
  }
  /// The rounding noise of a loss alone, likewise.
  double measure_noise(epsilon_options how, function_ref<void()> before) {
    how.seed = options_.seed;
    const double noise = zoq::measure_noise(
        [&](std::span<const query> asked) { return first_losses(asked, before); }, how);
    view_.move_to_values(exec_);
    return noise;
  }
  /// The same, without `before`.
  double measure_noise(const epsilon_options& how = {}) {
    return measure_noise(how, [] {});
  }
  /// For an epsilon that was measured: takes effect at the next start.
  Estimator& estimator_settings() { return estimator_; }

  /// Loss and accuracy of rows at the view's present values; `after` as for `evaluate`. Of a team each process
  /// takes its part of the rows, and all have the figures of all; one whose `after` says so stops alone.
  evaluation measure(std::span<const example> rows, function_ref<bool(const evaluation&)> after) {
    view_.move_to_values(exec_);
    const own_part mine = part_of(team_, static_cast<index_t>(rows.size()));
    evaluation e = passed(rows, numbers_of(mine), after);
    if (team_.size() > 1 && e.rows == mine.last - mine.first) {
      unite_figures(e, [&](std::span<std::int64_t> numbers) { team_.add_up(numbers); });
    }
    return e;
  }
  /// The same, without `after`.
  evaluation measure(std::span<const example> rows) {
    return measure(rows, [](const evaluation&) { return true; });
  }

  /// What `rows` keep of the untuned model, for objectives that compare with it: once, before they are
  /// trained on or measured. See train/reference.hpp.
  void set_references(std::span<example> rows) {
    zoq::set_references(pass_, objective_, rows, {.stacked_rows = options_.stacked_rows});
  }

  /// The stepper of the run, for records and checkpoints: after start() only.
  [[nodiscard]] stepper<X, Estimator, Optimizer>& steps() { return *step_; }
  /// Of `pass`.
  using pass_type = decltype(forward_of(std::declval<const X&>(), std::declval<const Model&>()));
  /// The model's forward pass, with its buffers.
  [[nodiscard]] const pass_type& pass() const { return pass_; }

 private:
  // The losses at the queries on the first batch, as choose_epsilon asks for them.
  std::vector<double> first_losses(std::span<const query> asked, function_ref<void()> before) {
    before();
    std::vector<answer> answers;
    losses(asked, 0, answers);
    return losses_of(answers);
  }

  // Which values a message speaks of.
  [[nodiscard]] std::string name_of_value(index_t i) const {
    if constexpr (requires { view_.layout().blocks(); }) {
      return value_name(&view_.layout().blocks(), i);
    } else {
      return value_name(nullptr, i);
    }
  }
  step_result naming_values(function_ref<step_result()> step) const {
    return training::naming_values(step, [&](index_t i) { return name_of_value(i); });
  }
  // Why a loss is not finite: values that have grown, or a model that cannot do it.
  [[nodiscard]] std::string largest_value() const {
    return training::largest_value(values_on_host(), [&](index_t i) { return name_of_value(i); });
  }
  [[nodiscard]] std::vector<float> values_on_host() const {
    return detail::downloaded(exec_, view_.values().data, view_.order().size);
  }

  // The losses at the queries: this process' share of them, and then all.
  void losses(std::span<const query> asked, std::uint64_t now, std::vector<answer>& answers) {
    const own_share share{team_.size(), team_.rank(), team_.share() == shared::points};
    training::losses(
        asked, now, share, answers,
        [&](std::span<const query> group, std::span<const index_t> numbers) {
          view_.move_to(exec_, step_->direction(), group);
          return passed(rows_, numbers, [](const evaluation&) { return true; });
        },
        [&](std::span<std::int64_t> numbers) { team_.add_up(numbers); });
  }

  // Of the rows of these numbers.
  evaluation passed(std::span<const example> rows, std::span<const index_t> numbers,
                    function_ref<bool(const evaluation&)> after) {
    return evaluate(pass_, view_.branches(), objective_, rows_at(rows, numbers),
                    {.stacked_rows = options_.stacked_rows, .numbers = numbers}, after);
  }

  const X& exec_;
  View& view_;
  Objective objective_;
  Estimator estimator_;
  Optimizer optimizer_;
  Team team_;
  pass_type pass_;
  std::optional<stepper<X, Estimator, Optimizer>> step_;
};

}  // namespace zoq
