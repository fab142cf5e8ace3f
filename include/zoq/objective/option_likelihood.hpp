// option_likelihood: choose among texts by their likelihood after a prompt.
//
//     s_o = mean (or sum) over the option's tokens of log p;   loss = -log softmax(s)[answer]
//
// The prompt is computed once for all options. Malladi et al., "MeZO", arXiv 2305.17333.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/io/row_kind.hpp"
#include "zoq/objective/objective.hpp"

namespace zoq {

/// How the log p of an option's tokens make its s_o.
enum class option_score { mean, sum };

struct option_likelihood {
  static constexpr std::string_view name = "option_likelihood";
  static constexpr std::string_view summary =
      "softmax over the likelihoods of the choices, against the right one";
  static constexpr std::string_view paper = "arXiv 2305.17333";
  static constexpr std::string_view cost =
      "a forward of the prompt, and of each choice's tokens but one";
  static constexpr bool serves(row_kind kind) { return kind == row_kind::choice; }
  option_score score = option_score::mean;  // how an option's tokens make s_o

  /// Throws unless there are at least two options, none empty, and the answer is one of them.
  static void pack(const example& row, packing& batch);

  /// scores: the log-likelihoods of all options' tokens, one option after another.
  [[nodiscard]] double loss(const example& row, std::span<const double> scores) const;

  /// weights[i] = d loss / d scores[i]: what a token weighs in its option's score, times softmax(s)
  /// of the option, less 1 for the answer.
  void read_weights(const example& row, std::span<const double> scores,
                    std::span<double> weights) const;

  /// The option of the highest score; the first of equals.
  [[nodiscard]] index_t choice(const example& row, std::span<const double> scores) const;

 private:
  // log sum_o e^s[o].
  [[nodiscard]] static double log_total(const std::vector<double>& s);

  [[nodiscard]] std::vector<double> option_scores(const example& row,
                                                  std::span<const double> scores) const;
};
static_assert(choosing_objective<option_likelihood> && weighing_objective<option_likelihood>);

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void option_likelihood::pack(const example& row, packing& batch) {
  require(row.continuations.size() >= 2, "a row has ", row.continuations.size(),
          " options, wanted at least 2");
  require(row.answer >= 0 && row.answer < static_cast<index_t>(row.continuations.size()), "answer ",
          row.answer, " is outside the ", row.continuations.size(), " options");
  const index_t prompt = batch.add(row.prompt);
  for (const auto& option : row.continuations) {
    pack_continuation(option, prompt, batch);
  }
}

ZOQ_BODY double option_likelihood::loss(const example& row, std::span<const double> scores) const {
  const std::vector<double> s = option_scores(row, scores);
  return log_total(s) - s[static_cast<std::size_t>(row.answer)];
}

ZOQ_BODY void option_likelihood::read_weights(const example& row, std::span<const double> scores,
                                              std::span<double> weights) const {
  const std::vector<double> s = option_scores(row, scores);
  const double total = log_total(s);
  std::size_t at = 0;
  for (std::size_t o = 0; o < s.size(); ++o) {
    const std::size_t n = row.continuations[o].size();
    const bool right = o == static_cast<std::size_t>(row.answer);
    const double towards = std::exp(s[o] - total) - (right ? 1.0 : 0.0);
    const double share = score == option_score::sum ? 1.0 : 1.0 / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i) {
      weights[at++] = towards * share;
    }
  }
}

ZOQ_BODY index_t option_likelihood::choice(const example& row,
                                           std::span<const double> scores) const {
  const std::vector<double> s = option_scores(row, scores);
  std::size_t best = 0;
  for (std::size_t o = 1; o < s.size(); ++o) {
    best = s[o] > s[best] ? o : best;
  }
  return static_cast<index_t>(best);
}

ZOQ_BODY double option_likelihood::log_total(const std::vector<double>& s) {
  double largest = s[0];
  for (const double x : s) {
    largest = std::fmax(largest, x);
  }
  double total = 0;
  for (const double x : s) {
    total += std::exp(x - largest);
  }
  return largest + std::log(total);
}

ZOQ_BODY std::vector<double> option_likelihood::option_scores(
    const example& row, std::span<const double> scores) const {
  std::vector<double> out;
  std::size_t at = 0;
  for (const auto& option : row.continuations) {
    double sum = 0;
    for (std::size_t i = 0; i < option.size(); ++i) {
      sum += scores[at++];
    }
    out.push_back(score == option_score::sum ? sum : sum / static_cast<double>(option.size()));
  }
  return out;
}

}  // namespace zoq

#endif
