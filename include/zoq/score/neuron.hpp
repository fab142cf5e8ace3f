// neuron: whole output neurons are chosen: every entry of a row of a matrix has the row's mean score.
//
//     score[o, c] = (1 / C) sum_c' inner[o, c']
//
//     zoq::neuron score(zoq::fisher(exec, model, windows));       // mean squared gradient of a row
//     auto mask = zoq::top_k(score, {.density = 0.01, .per = zoq::scope::global});
//
// The sum is divided by the row's length, so that rows of short and long matrices compare. Equal scores
// go in the order of their indices: top_k takes whole rows, but of the last one only what k leaves. A
// share of a matrix that is smaller than a row makes no whole one: choose over all matrices then, or
// more. Neurons as the unit of sensitivity: Xu et al., "Let's Focus on Neuron", arXiv 2403.11621.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// Score: any other, with scores of at least 0.
template <class Score>
class neuron {
 public:
  static constexpr std::string_view name = "neuron";
  static constexpr std::string_view summary = "rows of highest mean squared gradient, whole";
  static constexpr std::string_view paper = "arXiv 2403.11621";
  static constexpr std::string_view cost = "that of the score inside: fisher's";

  /// The score whose means are taken.
  explicit neuron(Score inner) : inner_(std::move(inner)) {}

  /// As many as the score's inside.
  [[nodiscard]] index_t entries() const { return inner_.entries(); }

  /// Visits as the score inside does, and returns what that returns. Row sums are double.
  template <class Visit>
  auto visit(Visit&& visit) const {
    std::vector<float> scores;
    return inner_.visit(
        [&](std::string_view tensor, index_t rows, index_t columns, std::span<const float> each) {
          scores.resize(each.size());
          for (index_t o = 0; o < rows; ++o) {
            double sum = 0;
            for (index_t c = 0; c < columns; ++c) {
              sum += static_cast<double>(each[static_cast<std::size_t>(o * columns + c)]);
            }
            std::fill_n(scores.begin() + o * columns, columns,
                        static_cast<float>(sum / static_cast<double>(columns)));
          }
          visit(tensor, rows, columns, std::span<const float>(scores));
        });
  }

 private:
  Score inner_;
};

}  // namespace zoq
