// dpo: prefer one text to another more than the untuned model does.
//
//     loss = -log sigmoid(margin),   margin = beta ((lp_c - ref_c) - (lp_r - ref_r))
//
//     zoq::dpo objective{.beta = 0.1};
//     trainer.set_references(rows);      // once, before the run
//
// lp are summed log-likelihoods of the chosen and the rejected text after the prompt, ref those of the
// untuned model. These are read once and kept with the row, so they are the same in all branches and steps.
// Rafailov et al., arXiv 2305.18290.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/objective.hpp"

namespace zoq {

struct dpo {
  static constexpr std::string_view name = "dpo";
  static constexpr std::string_view summary =
      "the chosen text more likely, and the rejected one less, than to the untuned model";
  static constexpr std::string_view paper = "arXiv 2305.18290";
  static constexpr std::string_view cost =
      "a forward of the prompt and both texts, and one more a row before the run";
  static constexpr bool serves(row_kind kind) { return kind == row_kind::preference; }
  double beta = 0.1;  // how much a difference of log-likelihoods counts

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("beta", self.beta);
  }

  /// Throws unless there are two continuations, the chosen and the rejected.
  static void pack(const example& row, packing& batch);

  /// The summed log-likelihoods of the chosen and of the rejected text.
  [[nodiscard]] static std::vector<double> reference(const example& row,
                                                     std::span<const double> scores);

  /// scores: the log-likelihoods of the chosen text's tokens, then of the rejected one's. Throws when
  /// beta is not positive, or the row has no reference.
  [[nodiscard]] double loss(const example& row, std::span<const double> scores) const;
  /// The chosen text, 0, where the margin is positive; else 1.
  [[nodiscard]] index_t choice(const example& row, std::span<const double> scores) const;
  /// weights[i] = d loss / d scores[i]: -+ beta sigmoid(-margin), of the chosen and the rejected text.
  void read_weights(const example& row, std::span<const double> scores,
                    std::span<double> weights) const;

 private:
  [[nodiscard]] double margin(const example& row, std::span<const double> scores) const;
};
static_assert(choosing_objective<dpo> && referring_objective<dpo> && weighing_objective<dpo>);

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>
#include <cstddef>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void dpo::pack(const example& row, packing& batch) {
  require(row.continuations.size() == 2, "a row has ", row.continuations.size(),
          " continuations, wanted a chosen and a rejected one");
  const index_t prompt = batch.add(row.prompt);
  for (const auto& continuation : row.continuations) {
    pack_continuation(continuation, prompt, batch);
  }
}

ZOQ_BODY std::vector<double> dpo::reference(const example& row, std::span<const double> scores) {
  std::vector<double> out;
  for (const auto& continuation : row.continuations) {
    double sum = 0;
    for (const double s : scores.first(continuation.size())) {
      sum += s;
    }
    scores = scores.subspan(continuation.size());
    out.push_back(sum);
  }
  return out;
}

ZOQ_BODY double dpo::loss(const example& row, std::span<const double> scores) const {
  const double m = margin(row, scores);
  // log(1 + e^-m), with no exponential above 1.
  return std::fmax(-m, 0.0) + std::log1p(std::exp(-std::fabs(m)));
}

ZOQ_BODY index_t dpo::choice(const example& row, std::span<const double> scores) const {
  return margin(row, scores) > 0 ? 0 : 1;
}

ZOQ_BODY void dpo::read_weights(const example& row, std::span<const double> scores,
                                std::span<double> weights) const {
  const double w = beta / (1 + std::exp(margin(row, scores)));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] = i < row.continuations[0].size() ? -w : w;
  }
}

ZOQ_BODY double dpo::margin(const example& row, std::span<const double> scores) const {
  require(std::isfinite(beta) && beta > 0, name, ": beta is ", beta, ", wanted a positive number");
  require(row.reference.size() == 2, name,
          ": a row has no log-likelihoods of the untuned model; set_references reads them");
  const std::vector<double> now = reference(row, scores);
  return beta * ((now[0] - row.reference[0]) - (now[1] - row.reference[1]));
}

}  // namespace zoq

#endif
