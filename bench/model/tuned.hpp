// Tuning a model step by step, with the time of every part of a step.
//
//     zoq::bench::tuned run(exec, model, mask, rows, {.probes = 2});
//     zoq::bench::step_times t = run.step();    // t.all, t.forward, t.perturb; t.rest()
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>
#include <zoq/zoq.hpp>

#include "program.hpp"

namespace zoq::bench {

/// A view that counts the seconds of moving to the branches: the perturbation.
template <executor X>
struct timed_view {
  static constexpr std::string_view name = "timed";
  laid_out_view<X, sparse_layout<X>>& of;
  double seconds = 0;

  [[nodiscard]] value_order order() const { return of.order(); }
  [[nodiscard]] tensor_view<float, 1> values() { return of.values(); }
  void move_to(const X& exec, const any_direction& direction, std::span<const query> asked) {
    seconds += seconds_of([&] { of.move_to(exec, direction, asked); });
  }
  void move_to_values(const X& exec) { of.move_to_values(exec); }
  [[nodiscard]] branch_parts branches() const { return of.branches(); }
  [[nodiscard]] index_t byte_count() const { return of.byte_count(); }
};
static_assert(parameter_view<timed_view<cpu>, cpu>);

/// Seconds of a step.
struct step_times {
  double all = 0;
  double forward = 0;  // inside forward passes
  double perturb = 0;  // the k values of every branch
  /// The estimate, the update of the k values, and packing the rows.
  [[nodiscard]] double rest() const { return all - forward - perturb; }
};

struct tuned_options {
  int probes = 1;
  index_t stacked_branches = 8;
};

/// Every step takes all of `rows`.
template <objective Objective = option_likelihood>
class tuned {
 public:
  /// Keeps references to executor and model. The first step is taken here: pages, workspaces.
  tuned(const cpu& exec, const llama& model, const mask& places, std::vector<example> rows,
        const tuned_options& how = {}, Objective objective = {})
      : rows_(std::move(rows)),
        view_(exec, sparse_layout<cpu>(exec, model.tensors(), places)),
        timed_{view_},
        trainer_(exec, model, timed_, objective, spsa{.probes = how.probes}, sgd{.rate = 1e-5f}) {
    trainer_.start(rows_, {.steps = 1 << 20,
                           .batch_size = static_cast<index_t>(rows_.size()),
                           .stacked_branches = how.stacked_branches});
    step();
  }

  step_times step() {
    const double forward = trainer_.cost().seconds, perturb = timed_.seconds;
    step_times out;
    out.all = seconds_of([&] { last_ = trainer_.advance(); });
    out.forward = trainer_.cost().seconds - forward;
    out.perturb = timed_.seconds - perturb;
    return out;
  }

  /// The losses of the last step, one for each branch.
  [[nodiscard]] const std::vector<answer>& losses() const { return last_.answers; }
  /// Tokens forwarded so far, and steps taken.
  [[nodiscard]] const train_cost& cost() const { return trainer_.cost(); }
  [[nodiscard]] std::uint64_t steps() const { return last_.step + 1; }
  [[nodiscard]] const std::vector<example>& rows() const { return rows_; }

 private:
  std::vector<example> rows_;
  laid_out_view<cpu, sparse_layout<cpu>> view_;
  timed_view<cpu> timed_;
  trainer<cpu, llama, timed_view<cpu>, Objective, spsa, sgd> trainer_;
  step_result last_;
};

}  // namespace zoq::bench
