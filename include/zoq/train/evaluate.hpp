// Losses of rows of data, for all branches together, in micro-batches of packed rows.
//
//     evaluation e = zoq::evaluate(pass, view.branches(), objective, rows);
//     e.branch[0].mean();  e.accuracy();  e.tokens;  e.seconds;
//
// Rows are cut into micro-batches by a limit on stacked rows alone: memory stays bounded, and since
// losses add as integers the cut changes no bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/data/example.hpp"
#include "zoq/estimate/total.hpp"
#include "zoq/objective/objective.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

/// What rows of data gave, and what it cost.
struct evaluation {
  std::vector<total> branch;  // exact sums of the losses of every branch
  index_t right = 0;          // rows of branch 0 where the objective chose the answer
  index_t rows = 0;           // evaluated
  index_t tokens = 0;         // forwarded, over all branches
  double seconds = 0;         // inside forwards

  /// Share of rows that are right; 0 of none.
  [[nodiscard]] double accuracy() const {
    return rows == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(rows);
  }
  /// Over the time inside forwards; 0 when there were none.
  [[nodiscard]] double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  }
};

/// How rows are cut into forward passes.
struct evaluate_options {
  index_t stacked_rows = 1024;  // tokens of all branches in one forward pass, at least one row's
  index_t batch_rows = 0;       // rows of data in one forward pass; 0: no other limit
  std::span<const index_t> numbers{};  // of the rows in the data, for messages; empty: 0, 1, 2, ...

  /// Of a row, as people count.
  [[nodiscard]] index_t number_of(std::size_t row) const {
    return (numbers.empty() ? static_cast<index_t>(row) : numbers[row]) + 1;
  }
};

/// Thrown on a loss that is NaN or infinite.
class loss_error : public error {
 public:
  using error::error;
};

/// True when the pass must also find the likeliest token of every read for this objective.
template <objective Objective>
[[nodiscard]] bool needs_best(const Objective& o) {
  if constexpr (requires { o.wants_best(); }) {
    return o.wants_best();
  } else {
    return best_reading_objective<Objective>;
  }
}

/// One forward pass: scores and, if `best` is not empty, the likeliest tokens: [branches, reads] both.
/// Throws when the pass cannot find these.
template <class Pass>
void score_batch(Pass& pass, const packing& batch, const branch_parts& branches,
                 std::span<double> scores, std::span<token_t> best) {
  if (best.empty()) {
    pass.score(batch, branches, scores);
    return;
  }
  if constexpr (requires { pass.score(batch, branches, scores, best); }) {
    pass.score(batch, branches, scores, best);
  } else {
    fail("this model's pass does not find the likeliest tokens, which the objective reads");
  }
}

/// Rows of data that went through the model together.
struct scored_rows {
  /// Number of the first row.
  std::size_t first = 0, last = 0;  // behind the last row
  index_t tokens = 0;               // forwarded, over all branches
  double seconds = 0;               // inside the forward
};

/// Called for a row in a branch, by their numbers, with what was read for it.
using each_row = function_ref<void(std::size_t row, std::size_t branch,
                                   std::span<const double> scores, std::span<const token_t> best)>;

namespace detail {

/// A pass and an objective, as functions: so that the loops over rows are compiled once for all of them.
struct row_reader {
  std::size_t branches;
  bool best;  // whether the likeliest tokens are read too
  function_ref<void(const example&, packing&)> pack;
  function_ref<void(const packing&, std::span<double>, std::span<token_t>)> score;
};

/// What an objective makes of a row's reads.
struct row_judge {
  function_ref<double(const example&, std::span<const double>, std::span<const token_t>)> loss;
  function_ref<bool(const example&, std::span<const double>, std::span<const token_t>)> right;
};

/// `score_rows` below, for all models and objectives.
void score_rows(const row_reader& reader, std::span<const example* const> rows,
                const evaluate_options& options, each_row each,
                function_ref<bool(const scored_rows&)> after);

/// `evaluate` below, for all models and objectives.
evaluation evaluate(const row_reader& reader, const row_judge& judge,
                    std::span<const example* const> rows, const evaluate_options& options,
                    function_ref<bool(const evaluation&)> after);

/// Calls f with the two as one.
template <class Pass, objective Objective, class F>
void with_reader(Pass& pass, const branch_parts& branches, const Objective& wanted, F&& f) {
  const auto pack = [&](const example& row, packing& batch) { wanted.pack(row, batch); };
  const auto score = [&](const packing& batch, std::span<double> scores, std::span<token_t> best) {
    score_batch(pass, batch, branches, scores, best);
  };
  f(row_reader{static_cast<std::size_t>(branches.count), needs_best(wanted), pack, score});
}

}  // namespace detail

/// Passes `rows` through the model, in micro-batches. `each` is called for every row in every branch of a
/// micro-batch, branch after branch; then `after(scored_rows)`, which may return false to stop. Throws, with
/// the row's number, when a row does not suit the objective.
template <class Pass, objective Objective>
void score_rows(Pass& pass, const branch_parts& branches, const Objective& wanted,
                std::span<const example* const> rows, const evaluate_options& options,
                each_row each, function_ref<bool(const scored_rows&)> after) {
  detail::with_reader(pass, branches, wanted, [&](const detail::row_reader& reader) {
    detail::score_rows(reader, rows, options, each, after);
  });
}

/// Evaluates `rows` at all of the branches. `pass` is a model's forward pass. `after` is called
/// with the evaluation so far, for progress; it may return false to stop early. Throws,
/// with the row's number, when a row does not suit the objective, and `loss_error` when its loss is not
/// finite.
template <class Pass, objective Objective>
evaluation evaluate(Pass& pass, const branch_parts& branches, const Objective& wanted,
                    std::span<const example* const> rows, const evaluate_options& options,
                    function_ref<bool(const evaluation&)> after) {
  const auto loss = [&](const example& row, std::span<const double> scores,
                        std::span<const token_t> best) {
    return loss_of(wanted, row, scores, best);
  };
  const auto right = [&](const example& row, std::span<const double> scores,
                         std::span<const token_t> best) {
    if constexpr (choosing_objective<Objective>) {
      return choice_of(wanted, row, scores, best) == row.answer;
    } else {
      return false;
    }
  };
  evaluation out;
  detail::with_reader(pass, branches, wanted, [&](const detail::row_reader& reader) {
    out = detail::evaluate(reader, {loss, right}, rows, options, after);
  });
  return out;
}

/// The same, without `after`.
template <class Pass, objective Objective>
evaluation evaluate(Pass& pass, const branch_parts& branches, const Objective& wanted,
                    std::span<const example* const> rows, const evaluate_options& options = {}) {
  return evaluate(pass, branches, wanted, rows, options, [](const evaluation&) { return true; });
}

}  // namespace zoq

#if ZOQ_BODIES

#include <chrono>
#include <cmath>

namespace zoq::detail {

ZOQ_BODY void score_rows(const row_reader& reader, std::span<const example* const> rows,
                         const evaluate_options& options, each_row each,
                         function_ref<bool(const scored_rows&)> after) {
  const std::size_t count = reader.branches;
  packing batch;
  std::vector<double> scores;
  std::vector<token_t> best;
  std::vector<std::size_t> first_read;  // of every packed row
  for (std::size_t next = 0; next < rows.size();) {
    batch.clear();
    first_read.clear();
    scored_rows done{.first = next};
    while (next < rows.size()) {
      const packing::sizes before = batch.size();
      try {
        reader.pack(*rows[next], batch);
      } catch (const error& e) {
        fail("row ", options.number_of(next), ": ", e.what());
      }
      const bool full =
          batch.rows() * static_cast<index_t>(count) > options.stacked_rows ||
          (options.batch_rows > 0 && static_cast<index_t>(next - done.first) >= options.batch_rows);
      if (next > done.first && full) {
        batch.cut(before);
        break;
      }
      first_read.push_back(before.reads);
      ++next;
    }
    first_read.push_back(batch.reads.size());
    done.last = next;

    const std::size_t reads = batch.reads.size();
    scores.assign(reads * count, 0.0);
    best.assign(reader.best ? reads * count : 0, 0);
    const auto start = std::chrono::steady_clock::now();
    reader.score(batch, scores, best);
    done.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    done.tokens = batch.rows() * static_cast<index_t>(count);

    for (std::size_t b = 0; b < count; ++b) {
      for (std::size_t r = done.first; r < done.last; ++r) {
        const std::size_t from = first_read[r - done.first];
        const std::size_t n = first_read[r - done.first + 1] - from;
        const std::span<const token_t> likeliest(best);
        each(r, b, std::span<const double>(scores).subspan(b * reads + from, n),
             best.empty() ? likeliest : likeliest.subspan(b * reads + from, n));
      }
    }
    if (!after(done)) {
      return;
    }
  }
}

ZOQ_BODY evaluation evaluate(const row_reader& reader, const row_judge& judge,
                             std::span<const example* const> rows, const evaluate_options& options,
                             function_ref<bool(const evaluation&)> after) {
  evaluation out;
  out.branch.resize(reader.branches);
  score_rows(
      reader, rows, options,
      [&](std::size_t r, std::size_t b, std::span<const double> scores,
          std::span<const token_t> best) {
        const double loss = judge.loss(*rows[r], scores, best);
        if (!std::isfinite(loss)) {
          throw loss_error(
              text("row ", options.number_of(r), ", branch ", b, ": the loss is ", loss));
        }
        out.branch[b].add(loss);
        if (b == 0 && judge.right(*rows[r], scores, best)) {
          ++out.right;
        }
      },
      [&](const scored_rows& done) {
        out.seconds += done.seconds;
        out.tokens += done.tokens;
        out.rows = static_cast<index_t>(done.last);
        return after(out);
      });
  return out;
}

}  // namespace zoq::detail

#endif
