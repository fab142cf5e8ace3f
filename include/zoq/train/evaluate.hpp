// Losses of rows of data, for all branches together, in micro-batches of packed rows.
//
//     evaluation e = zoq::evaluate(pass, view.branches(), objective, rows);
//     e.branch[0].mean();  e.accuracy();  e.tokens;  e.seconds;
//
// Rows are cut into micro-batches by a limit on stacked rows alone: memory stays bounded, and since
// losses add as integers the cut changes no bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
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

/// Passes `rows` through the model, in micro-batches. `each(row, branch, scores, best)` is called for
/// every row in every branch of a micro-batch, branch after branch, with its number and what was read
/// for it; then `after(scored_rows)`, which may return false to stop. Throws, with the row's number,
/// when a row does not suit the objective.
template <class Pass, objective Objective, class Each, class After>
void score_rows(Pass& pass, const branch_parts& branches, const Objective& wanted,
                std::span<const example* const> rows, const evaluate_options& options, Each&& each,
                After&& after) {
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
        wanted.pack(*rows[next], batch);
      } catch (const error& e) {
        fail("row ", options.number_of(next), ": ", e.what());
      }
      const bool full =
          batch.rows() * branches.count > options.stacked_rows ||
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
    const auto count = static_cast<std::size_t>(branches.count);
    scores.assign(reads * count, 0.0);
    best.assign(needs_best(wanted) ? reads * count : 0, 0);
    const auto start = std::chrono::steady_clock::now();
    score_batch(pass, batch, branches, scores, best);
    done.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    done.tokens = batch.rows() * branches.count;

    for (std::size_t b = 0; b < count; ++b) {
      for (std::size_t r = done.first; r < done.last; ++r) {
        const std::size_t from = first_read[r - done.first];
        const std::size_t n = first_read[r - done.first + 1] - from;
        const std::span<const token_t> likeliest(best);
        each(r, b, std::span<const double>(scores).subspan(b * reads + from, n),
             best.empty() ? likeliest : likeliest.subspan(b * reads + from, n));
      }
    }
    if (!after(std::as_const(done))) {
      return;
    }
  }
}

/// Evaluates `rows` at all of the branches. `pass` is a model's forward pass. `after` is called
/// with the evaluation so far, for progress; it may return false to stop early. Throws,
/// with the row's number, when a row does not suit the objective, and `loss_error` when its loss is not
/// finite.
template <class Pass, objective Objective, class After>
evaluation evaluate(Pass& pass, const branch_parts& branches, const Objective& wanted,
                    std::span<const example* const> rows, const evaluate_options& options,
                    After&& after) {
  evaluation out;
  out.branch.resize(static_cast<std::size_t>(branches.count));
  score_rows(
      pass, branches, wanted, rows, options,
      [&](std::size_t r, std::size_t b, std::span<const double> scores,
          std::span<const token_t> best) {
        const double loss = loss_of(wanted, *rows[r], scores, best);
        if (!std::isfinite(loss)) {
          throw loss_error(
              text("row ", options.number_of(r), ", branch ", b, ": the loss is ", loss));
        }
        out.branch[b].add(loss);
        if constexpr (choosing_objective<Objective>) {
          if (b == 0 && choice_of(wanted, *rows[r], scores, best) == rows[r]->answer) {
            ++out.right;
          }
        }
      },
      [&](const scored_rows& done) {
        out.seconds += done.seconds;
        out.tokens += done.tokens;
        out.rows = static_cast<index_t>(done.last);
        return after(std::as_const(out));
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
