// What rows keep of the untuned model, for objectives that compare with it, such as dpo.
//
//     zoq::set_references(pass, objective, rows);     // once, before a run
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "zoq/data/example.hpp"
#include "zoq/objective/objective.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/train/evaluate.hpp"

namespace zoq {

/// Fills in `reference` of every row from a pass of the model as it is, without any view. Does nothing for
/// objectives that refer to nothing. `pass` is a model's forward pass. Throws, with the row's number, when a
/// row does not suit the objective. Cost: a forward of all rows.
template <class Pass, objective Objective>
void set_references(Pass& pass, const Objective& wanted, std::span<example> rows,
                    const evaluate_options& options = {}) {
  if constexpr (referring_objective<Objective>) {
    if constexpr (requires { wanted.refers(); }) {
      if (!wanted.refers()) {
        return;
      }
    }
    std::vector<const example*> at;
    for (const example& row : rows) {
      at.push_back(&row);
    }
    score_rows(
        pass, branch_parts{}, wanted, at, options,
        [&](std::size_t r, std::size_t, std::span<const double> scores, auto) {
          rows[r].reference = wanted.reference(rows[r], scores);
        },
        [](const scored_rows&) { return true; });
  }
}

}  // namespace zoq
