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

struct evaluation {
  std::vector<total> branch;  // exact sums of the losses of every branch
  index_t right = 0;          // rows of branch 0 where the objective chose the answer
  index_t rows = 0;
  index_t tokens = 0;  // forwarded, over all branches
  double seconds = 0;  // inside forwards

  [[nodiscard]] double accuracy() const {
    return rows == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(rows);
  }
  [[nodiscard]] double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  }
};

struct evaluate_options {
  index_t stacked_rows = 1024;  // tokens of all branches in one forward pass, at least one row's
  index_t batch_rows = 0;       // rows of data in one forward pass; 0: no other limit
  std::span<const index_t> numbers{};  // of the rows in the data, for messages; empty: 0, 1, 2, ...
};

/// Evaluates `rows` at all of the branches. `pass` is a model's forward pass. `after` is called
/// with the evaluation so far, for progress; it may return false to stop early. Throws,
/// with the row's number, when a row does not suit the objective or its loss is not finite.
template <class Pass, objective Objective, class After>
evaluation evaluate(Pass& pass, const branch_parts& branches, const Objective& wanted,
                    std::span<const example* const> rows, const evaluate_options& options,
                    After&& after) {
  evaluation out;
  out.branch.resize(static_cast<std::size_t>(branches.count));
  const auto number = [&](std::size_t row) {  // as people count
    return (options.numbers.empty() ? static_cast<index_t>(row) : options.numbers[row]) + 1;
  };
  packing batch;
  std::vector<double> scores;
  std::vector<std::size_t> first_read;  // of every packed row
  for (std::size_t next = 0; next < rows.size();) {
    batch.clear();
    first_read.clear();
    const std::size_t begin = next;
    while (next < rows.size()) {
      const packing::sizes before = batch.size();
      try {
        wanted.pack(*rows[next], batch);
      } catch (const error& e) {
        fail("row ", number(next), ": ", e.what());
      }
      const bool full =
          batch.rows() * branches.count > options.stacked_rows ||
          (options.batch_rows > 0 && static_cast<index_t>(next - begin) >= options.batch_rows);
      if (next > begin && full) {
        batch.cut(before);
        break;
      }
      first_read.push_back(before.reads);
      ++next;
    }
    first_read.push_back(batch.reads.size());

    const std::size_t reads = batch.reads.size();
    scores.assign(reads * static_cast<std::size_t>(branches.count), 0.0);
    const auto start = std::chrono::steady_clock::now();
    pass.score(batch, branches, scores);
    out.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    out.tokens += batch.rows() * branches.count;

    for (std::size_t b = 0; b < out.branch.size(); ++b) {
      for (std::size_t r = begin; r < next; ++r) {
        const std::size_t from = first_read[r - begin];
        const std::span<const double> mine(scores.data() + b * reads + from,
                                           first_read[r - begin + 1] - from);
        const double loss = wanted.loss(*rows[r], mine);
        require(std::isfinite(loss), "row ", number(r), ", branch ", b, ": the loss is ", loss);
        out.branch[b].add(loss);
        if constexpr (choosing_objective<Objective>) {
          if (b == 0 && wanted.choice(*rows[r], mine) == rows[r]->answer) {
            ++out.right;
          }
        }
      }
    }
    out.rows = static_cast<index_t>(next);
    if (!after(std::as_const(out))) {
      break;
    }
  }
  return out;
}

template <class Pass, objective Objective>
evaluation evaluate(Pass& pass, const branch_parts& branches, const Objective& wanted,
                    std::span<const example* const> rows, const evaluate_options& options = {}) {
  return evaluate(pass, branches, wanted, rows, options, [](const evaluation&) { return true; });
}

}  // namespace zoq
