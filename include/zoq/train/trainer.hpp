// trainer: tunes the values of a view by forward passes alone.
//
//     zoq::trainer trainer{exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{}};
//     trainer.run(rows, {.steps = 400});
//
// A step asks the estimator for branches, moves the view to all of them, evaluates the batch once
// with the branches stacked, and applies the estimate. The batch is a function of (seed, step).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/hash.hpp"
#include "zoq/data/row_order.hpp"
#include "zoq/estimate/epsilon.hpp"
#include "zoq/train/evaluate.hpp"
#include "zoq/train/reference.hpp"
#include "zoq/train/step.hpp"
#include "zoq/train/team.hpp"
#include "zoq/view/value_blocks.hpp"
#include "zoq/view/view.hpp"

namespace zoq {

/// What makes a run, beside estimator and optimizer, and what limits its memory.
struct train_options {
  std::uint64_t steps = 400;             // of the whole run
  index_t batch_size = 16;               // rows of data in a step
  bool stratified = true;                // each answer has its share of a batch: data/row_order.hpp
  seed_t seed = 0;                       // of directions and batches
  any_direction direction = gaussian{};  // of the probes
  any_schedule schedule = constant{};    // of the rate
  index_t stacked_rows = 1024;           // activations of all branches in memory at a time
  index_t stacked_branches = 8;          // branches in one forward pass; at least a pair
  double clip = 0;                       // the largest derivative along a direction; 0: no limit
  double clip_norm = 0;                  // the largest norm of an estimate; 0: no limit
};

/// As many branches in one pass as are worth their memory: the k values of each exist at the same time.
constexpr index_t branches_for(index_t k) { return k > (index_t{1} << 25) ? 2 : 8; }

/// What the forwards of a run have cost so far.
struct train_cost {
  index_t evaluations = 0;  // losses of a whole batch
  index_t tokens = 0;       // forwarded
  double seconds = 0;       // inside forwards
};

template <executor X, class Model, parameter_view<X> View, objective Objective,
          estimator<X> Estimator, optimizer Optimizer, team Team = alone>
class trainer {
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
    require(options.stacked_rows > 0 && options.stacked_branches > 0,
            "trainer: stacked rows and branches must be positive");
    rows_ = rows;
    options_ = options;
    std::vector<index_t> strata;
    for (std::size_t r = 0; options.stratified && r < rows.size(); ++r) {
      strata.push_back(rows[r].answer);
    }
    order_.emplace(static_cast<index_t>(rows.size()), options.batch_size, options.seed,
                   std::move(strata));
    step_.emplace(exec_, view_.order(), estimator_, optimizer_,
                  recipe{options.steps, options.seed, options.direction, options.schedule,
                         options.clip, options.clip_norm});
    settings_ = team_.size() == 1 ? 0 : settings_hash();
  }

  /// Starts, takes all steps, and leaves the view at its last values. `after(step_result)` may
  /// return false to stop early.
  template <class After>
  void run(std::span<const example> rows, const train_options& options, After&& after) {
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
    return naming_values([&] {
      return step_->advance(view_.values().data,
                            [&](std::span<const query> asked, std::vector<answer>& answers) {
                              try {
                                losses(asked, now, answers);
                              } catch (const loss_error& e) {
                                fail("step ", now, ": ", e.what(), "; ", largest_value());
                              } catch (const error& e) {
                                fail("step ", now, ": ", e.what());
                              }
                            });
    });
  }

  /// One recorded step: the same, with the losses of an earlier run instead of forwards.
  step_result replay(std::span<const answer> recorded) {
    return naming_values([&] { return step_->replay(view_.values().data, recorded); });
  }

  /// Chooses the epsilon on the first batch; see estimate/epsilon.hpp. Changes nothing. `before()` is
  /// called before each direction, and may throw to stop.
  template <class Before>
  epsilon_choice measure_epsilon(epsilon_options how, Before&& before) {
    how.seed = options_.seed;
    const auto choice = choose_epsilon(losses_after(before), how);
    view_.move_to_values(exec_);
    return choice;
  }
  /// The same, without `before`.
  epsilon_choice measure_epsilon(const epsilon_options& how = {}) {
    return measure_epsilon(how, [] {});
  }
  /// The rounding noise of a loss alone, likewise.
  template <class Before>
  double measure_noise(epsilon_options how, Before&& before) {
    how.seed = options_.seed;
    const double noise = zoq::measure_noise(losses_after(before), how);
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
  template <class After>
  evaluation measure(std::span<const example> rows, After&& after) {
    view_.move_to_values(exec_);
    const own_part mine = part_of(team_, static_cast<index_t>(rows.size()));
    std::vector<const example*> at;
    std::vector<index_t> numbers;
    for (index_t row = mine.first; row < mine.last; ++row) {
      at.push_back(&rows[static_cast<std::size_t>(row)]);
      numbers.push_back(row);
    }
    evaluation e = evaluate(pass_, view_.branches(), objective_, at,
                            {.stacked_rows = options_.stacked_rows, .numbers = numbers}, after);
    if (team_.size() > 1 && e.rows == mine.last - mine.first) {
      std::int64_t sums[] = {e.branch[0].units, e.branch[0].weight, e.right, e.rows, e.tokens};
      team_.add_up(sums);
      e.branch[0] = {sums[0], sums[1]};
      std::tie(e.right, e.rows, e.tokens) = std::tie(sums[2], sums[3], sums[4]);
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

  [[nodiscard]] const train_cost& cost() const { return cost_; }
  /// For work that is not to be counted.
  void reset_cost(const train_cost& to) { cost_ = to; }
  /// The stepper of the run, for records and checkpoints: after start() only.
  [[nodiscard]] auto& steps() { return *step_; }
  /// The model's forward pass, with its buffers.
  [[nodiscard]] const auto& pass() const { return pass_; }

 private:
  // What choose_epsilon asks: losses on the first batch.
  template <class Before>
  auto losses_after(Before& before) {
    return [this, &before](std::span<const query> asked) {
      before();
      std::vector<answer> answers;
      losses(asked, 0, answers);
      std::vector<double> out;
      for (const answer& a : answers) {
        out.push_back(a.loss);
      }
      return out;
    };
  }

  // Which values a message speaks of: the tensor's name where the view has one for it.
  [[nodiscard]] std::string name_of_value(index_t i) const {
    if constexpr (requires { view_.layout().blocks(); }) {
      const value_blocks& blocks = view_.layout().blocks();
      for (std::size_t b = 0; b < blocks.names().size(); ++b) {
        const extent& e = blocks.extents()[b];
        if (i >= e.first && i < e.first + e.rows * e.columns) {
          return text(blocks.names()[b], ", value ", i - e.first);
        }
      }
    }
    return text("value ", i);
  }

  template <class Step>
  step_result naming_values(const Step& step) const {
    try {
      return step();
    } catch (const value_error& e) {
      throw value_error(text(e.what(), " (", name_of_value(e.value), ")"), e.value);
    }
  }

  // Why a loss is not finite: values that have grown, or a model that cannot do it.
  [[nodiscard]] std::string largest_value() const {
    std::vector<float> all(static_cast<std::size_t>(view_.order().size));
    exec_.download(view_.values().data, view_.order().size, all.data());
    const auto most = std::max_element(
        all.begin(), all.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    return most == all.end() ? "nothing is tuned"
                             : text("the values are finite, the largest ", *most, " (",
                                    name_of_value(most - all.begin()), ")");
  }

  // Of what all processes of a team must have alike: settings, rows and values.
  [[nodiscard]] std::uint64_t settings_hash() const {
    content_hash h;
    for (const std::uint64_t n : {options_.steps, static_cast<std::uint64_t>(options_.batch_size),
                                  static_cast<std::uint64_t>(options_.seed)}) {
      h.add(n);
    }
    for (const example& row : rows_) {
      h.add(std::as_bytes(std::span(row.prompt))).add(static_cast<std::uint64_t>(row.answer));
      for (const auto& c : row.continuations) {
        h.add(std::as_bytes(std::span(c)));
      }
    }
    const index_t k = view_.order().size;
    std::vector<float> values(static_cast<std::size_t>(k));
    exec_.download(view_.values().data, k, values.data());
    return h.add(std::as_bytes(std::span<const float>(values))).value();
  }

  // The losses at the queries: this process' share of them, and then all.
  void losses(std::span<const query> asked, std::uint64_t now, std::vector<answer>& answers) {
    std::vector<total> totals(asked.size());
    if (team_.size() == 1) {
      own_losses(asked, now, totals);
    } else {
      std::string wrong;
      try {
        own_losses(asked, now, totals);
      } catch (const error& e) {
        wrong = e.what();
      }
      unite(team_, totals, options_.batch_size, wrong, now, settings_);
    }
    for (const total& t : totals) {
      answers.push_back({t.mean()});
    }
  }

  // In runs of at most `stacked_branches`.
  void own_losses(std::span<const query> asked, std::uint64_t now, std::span<total> totals) {
    const bool deals_points = team_.share() == shared::points;
    const auto even = static_cast<std::size_t>(std::max<index_t>(
        1, (static_cast<index_t>(asked.size()) + team_.size() - 1) / team_.size()));
    const auto most = static_cast<std::size_t>(options_.stacked_branches);
    index_t run = 0;
    for (std::size_t first = 0; first < asked.size(); ++run) {
      const auto group = asked.subspan(
          first,
          evaluated_together(asked.subspan(first), deals_points ? std::min(most, even) : most));
      if (!deals_points || run % team_.size() == team_.rank()) {
        const evaluation e = evaluated(group, now, deals_points);
        std::copy(e.branch.begin(), e.branch.end(),
                  totals.begin() + static_cast<std::ptrdiff_t>(first));
      }
      first += group.size();
    }
  }

  evaluation evaluated(std::span<const query> group, std::uint64_t now, bool all_rows) {
    const std::uint64_t number = group[0].batch == query::this_batch ? now : group[0].batch;
    std::vector<index_t> numbers = order_->batch(number);
    if (!all_rows) {
      const own_part mine = part_of(team_, static_cast<index_t>(numbers.size()));
      numbers = {numbers.begin() + mine.first, numbers.begin() + mine.last};
    }
    std::vector<const example*> batch;
    for (const index_t row : numbers) {
      batch.push_back(&rows_[static_cast<std::size_t>(row)]);
    }
    view_.move_to(exec_, step_->direction(), group);
    evaluation e = evaluate(pass_, view_.branches(), objective_, batch,
                            {.stacked_rows = options_.stacked_rows, .numbers = numbers});
    cost_.evaluations += static_cast<index_t>(group.size());
    cost_.tokens += e.tokens;
    cost_.seconds += e.seconds;
    return e;
  }

  const X& exec_;
  View& view_;
  Objective objective_;
  Estimator estimator_;
  Optimizer optimizer_;
  Team team_;
  decltype(forward_of(std::declval<const X&>(), std::declval<const Model&>())) pass_;
  std::span<const example> rows_;
  train_options options_;
  std::optional<row_order> order_;
  std::uint64_t settings_ = 0;  // what all of a team must have alike
  std::optional<stepper<X, Estimator, Optimizer>> step_;
  train_cost cost_;
};

}  // namespace zoq
