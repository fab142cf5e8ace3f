// What a trainer is, as far as it depends on no executor, model, view, objective, estimator or optimizer: options,
// batches, costs and messages.
//
//     trainer.run(rows, {.steps = 400, .batch_size = 16});
//     trainer.cost().tokens;
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/data/example.hpp"
#include "zoq/data/row_order.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/train/evaluate.hpp"
#include "zoq/train/step_course.hpp"
#include "zoq/train/team.hpp"
#include "zoq/view/value_blocks.hpp"

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

namespace detail {

/// A trainer, apart from what its types decide.
class training {
 public:
  [[nodiscard]] const train_cost& cost() const { return cost_; }
  /// For work that is not to be counted.
  void reset_cost(const train_cost& to) { cost_ = to; }

 protected:
  /// This process in its team.
  struct own_share {
    index_t size, rank;
    bool points;  // whether points are dealt out, not rows
  };
  using name_value = function_ref<std::string(index_t)>;
  using add_up_numbers = function_ref<void(std::span<std::int64_t>)>;
  /// The losses at the queries on the rows of these numbers.
  using evaluate_group = function_ref<evaluation(std::span<const query>, std::span<const index_t>)>;

  training();
  training(training&&) noexcept;
  ~training();

  void begin(std::span<const example> rows, const train_options& options);
  // What the steps are made of.
  [[nodiscard]] recipe steps_recipe() const;
  // Of what all processes of a team must have alike: settings, rows and values.
  void hash_settings(std::span<const float> values);

  // The losses at the queries: this process' share of them, and then all.
  void losses(std::span<const query> asked, std::uint64_t now, const own_share& share,
              std::vector<answer>& answers, evaluate_group evaluate, add_up_numbers add_up);

  static std::vector<double> losses_of(std::span<const answer> answers);
  static std::vector<index_t> numbers_of(const own_part& rows);
  static std::vector<const example*> rows_at(std::span<const example> rows,
                                             std::span<const index_t> numbers);
  static void unite_figures(evaluation& e, add_up_numbers add_up);

  // Names the step where the losses cannot be had, and with a loss that is not finite the largest value.
  static void naming_step(std::uint64_t now, function_ref<void()> losses,
                          function_ref<std::string()> largest_value);
  // Names the value that a step refuses.
  static step_result naming_values(function_ref<step_result()> step, name_value name);
  // The tensor's name where there is one for the value.
  static std::string value_name(const value_blocks* blocks, index_t i);
  static std::string largest_value(std::span<const float> all, name_value name);

  std::span<const example> rows_;
  train_options options_;

 private:
  void own_losses(std::span<const query> asked, std::uint64_t now, const own_share& share,
                  std::span<total> totals, evaluate_group evaluate);
  evaluation evaluated(std::span<const query> group, std::uint64_t now, const own_share& share,
                       evaluate_group evaluate);

  std::optional<row_order> order_;
  std::uint64_t settings_ = 0;  // what all of a team must have alike
  train_cost cost_;
};

}  // namespace detail
}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

#include "zoq/core/error.hpp"
#include "zoq/core/hash.hpp"

namespace zoq::detail {

ZOQ_BODY training::training() = default;
ZOQ_BODY training::training(training&&) noexcept = default;
ZOQ_BODY training::~training() = default;

ZOQ_BODY recipe training::steps_recipe() const {
  return {options_.steps,    options_.seed, options_.direction,
          options_.schedule, options_.clip, options_.clip_norm};
}

ZOQ_BODY void training::begin(std::span<const example> rows, const train_options& options) {
  require(options.stacked_rows > 0 && options.stacked_branches > 0,
          "trainer: stacked rows and branches must be positive");
  rows_ = rows;
  options_ = options;
  settings_ = 0;
  std::vector<index_t> strata;
  for (std::size_t r = 0; options.stratified && r < rows.size(); ++r) {
    strata.push_back(rows[r].answer);
  }
  order_.emplace(static_cast<index_t>(rows.size()), options.batch_size, options.seed,
                 std::move(strata));
}

ZOQ_BODY void training::hash_settings(std::span<const float> values) {
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
  settings_ = h.add(std::as_bytes(values)).value();
}

ZOQ_BODY void training::losses(std::span<const query> asked, std::uint64_t now,
                               const own_share& share, std::vector<answer>& answers,
                               evaluate_group evaluate, add_up_numbers add_up) {
  std::vector<total> totals(asked.size());
  if (share.size == 1) {
    own_losses(asked, now, share, totals, evaluate);
  } else {
    std::string wrong;
    try {
      own_losses(asked, now, share, totals, evaluate);
    } catch (const error& e) {
      wrong = e.what();
    }
    unite(share.size, add_up, totals, options_.batch_size, wrong, now, settings_);
  }
  for (const total& t : totals) {
    answers.push_back({t.mean()});
  }
}

// In runs of at most `stacked_branches`.
ZOQ_BODY void training::own_losses(std::span<const query> asked, std::uint64_t now,
                                   const own_share& share, std::span<total> totals,
                                   evaluate_group evaluate) {
  const auto even = static_cast<std::size_t>(
      std::max<index_t>(1, (static_cast<index_t>(asked.size()) + share.size - 1) / share.size));
  const auto most = static_cast<std::size_t>(options_.stacked_branches);
  index_t run = 0;
  for (std::size_t first = 0; first < asked.size(); ++run) {
    const auto group = asked.subspan(
        first,
        evaluated_together(asked.subspan(first), share.points ? std::min(most, even) : most));
    if (!share.points || run % share.size == share.rank) {
      const evaluation e = evaluated(group, now, share, evaluate);
      std::copy(e.branch.begin(), e.branch.end(),
                totals.begin() + static_cast<std::ptrdiff_t>(first));
    }
    first += group.size();
  }
}

ZOQ_BODY evaluation training::evaluated(std::span<const query> group, std::uint64_t now,
                                        const own_share& share, evaluate_group evaluate) {
  const std::uint64_t number = group[0].batch == query::this_batch ? now : group[0].batch;
  std::vector<index_t> numbers = order_->batch(number);
  if (!share.points) {
    const own_part mine = own_part_of(static_cast<index_t>(numbers.size()), share.size, share.rank);
    numbers = {numbers.begin() + mine.first, numbers.begin() + mine.last};
  }
  evaluation e = evaluate(group, numbers);
  cost_.evaluations += static_cast<index_t>(group.size());
  cost_.tokens += e.tokens;
  cost_.seconds += e.seconds;
  return e;
}

ZOQ_BODY std::vector<double> training::losses_of(std::span<const answer> answers) {
  std::vector<double> out;
  for (const answer& a : answers) {
    out.push_back(a.loss);
  }
  return out;
}

ZOQ_BODY std::vector<index_t> training::numbers_of(const own_part& rows) {
  std::vector<index_t> out;
  for (index_t row = rows.first; row < rows.last; ++row) {
    out.push_back(row);
  }
  return out;
}

ZOQ_BODY std::vector<const example*> training::rows_at(std::span<const example> rows,
                                                       std::span<const index_t> numbers) {
  std::vector<const example*> out;
  for (const index_t row : numbers) {
    out.push_back(&rows[static_cast<std::size_t>(row)]);
  }
  return out;
}

ZOQ_BODY void training::unite_figures(evaluation& e, add_up_numbers add_up) {
  std::int64_t sums[] = {e.branch[0].units, e.branch[0].weight, e.right, e.rows, e.tokens};
  add_up(sums);
  e.branch[0] = {sums[0], sums[1]};
  std::tie(e.right, e.rows, e.tokens) = std::tie(sums[2], sums[3], sums[4]);
}

ZOQ_BODY void training::naming_step(std::uint64_t now, function_ref<void()> losses,
                                    function_ref<std::string()> largest_value) {
  try {
    losses();
  } catch (const loss_error& e) {
    fail("step ", now, ": ", e.what(), "; ", largest_value());
  } catch (const error& e) {
    fail("step ", now, ": ", e.what());
  }
}

ZOQ_BODY step_result training::naming_values(function_ref<step_result()> step, name_value name) {
  try {
    return step();
  } catch (const value_error& e) {
    throw value_error(text(e.what(), " (", name(e.value), ")"), e.value);
  }
}

ZOQ_BODY std::string training::value_name(const value_blocks* blocks, index_t i) {
  for (std::size_t b = 0; blocks != nullptr && b < blocks->names().size(); ++b) {
    const extent& e = blocks->extents()[b];
    if (i >= e.first && i < e.first + e.rows * e.columns) {
      return text(blocks->names()[b], ", value ", i - e.first);
    }
  }
  return text("value ", i);
}

ZOQ_BODY std::string training::largest_value(std::span<const float> all, name_value name) {
  const auto most = std::max_element(all.begin(), all.end(),
                                     [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  return most == all.end() ? "nothing is tuned"
                           : text("the values are finite, the largest ", *most, " (",
                                  name(most - all.begin()), ")");
}

}  // namespace zoq::detail

#endif
