// accuracy: 0 where the right choice is the likeliest, else 1.
//
//     loss = [argmax_o s_o != answer]        s_o as in option_likelihood
//
// Not differentiable: most small steps change no choice, so a step's losses are often all the same and its
// estimate zero (`step_result::flat`). Large batches and a large epsilon help. Malladi et al., "MeZO",
// arXiv 2305.17333, tune so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/objective.hpp"
#include "zoq/objective/option_likelihood.hpp"

namespace zoq {

struct accuracy {
  static constexpr std::string_view name = "accuracy";
  static constexpr std::string_view summary =
      "share of rows whose right choice is not the likeliest";
  static constexpr std::string_view paper = "arXiv 2305.17333";
  static constexpr std::string_view cost = option_likelihood::cost;
  static constexpr bool serves(row_kind kind) { return kind == row_kind::choice; }
  option_score score = option_score::mean;  // how an option's tokens make s_o

  /// As option_likelihood.
  static void pack(const example& row, packing& batch);

  [[nodiscard]] double loss(const example& row, std::span<const double> scores) const;
  [[nodiscard]] index_t choice(const example& row, std::span<const double> scores) const;
};
static_assert(choosing_objective<accuracy>);

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY void accuracy::pack(const example& row, packing& batch) {
  option_likelihood::pack(row, batch);
}

ZOQ_BODY double accuracy::loss(const example& row, std::span<const double> scores) const {
  return choice(row, scores) == row.answer ? 0.0 : 1.0;
}

ZOQ_BODY index_t accuracy::choice(const example& row, std::span<const double> scores) const {
  return option_likelihood{score}.choice(row, scores);
}

}  // namespace zoq

#endif
