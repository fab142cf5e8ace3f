// loss-sensitivity: how much the loss would change, to first order, if a weight were taken away:
//
//     score[w] = |w * mean over samples of d loss / d w|
//
//     zoq::loss_sensitivity score(exec, model, zoq::text_samples{windows});
//     zoq::loss_sensitivity task(exec, model, zoq::task_samples{rows, objective});
//
// The loss is the samples': next-token loss of windows of text, or an objective's of labelled rows.
// Lee et al., "SNIP", arXiv 1810.02340, prune by it; here the entries of highest score are tuned. The
// weights are the decoded ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

template <executor X, class Model, reverse_samples Samples>
class loss_sensitivity {
 public:
  static constexpr std::string_view name = "loss-sensitivity";
  static constexpr std::string_view summary = "|weight * mean gradient|: loss of losing the weight";
  static constexpr std::string_view paper = "arXiv 1810.02340";
  static constexpr std::string_view cost = "about 6 forwards over the text, with a reverse pass";

  /// Keeps references to executor and model.
  loss_sensitivity(
      const X& exec, const Model& model, Samples samples,
      score_progress progress = [](index_t, index_t) {})
      : exec_(exec), model_(model), samples_(std::move(samples)), progress_(std::move(progress)) {}

  /// Weights of linear layers: as many as there are scores.
  [[nodiscard]] index_t entries() const { return linear_weights(model_.tensors()); }

  /// As fisher's: the last layer first. Returns the mean loss of the samples.
  double visit(gradient_visitor visit) const;

 private:
  const X& exec_;
  const Model& model_;
  Samples samples_;
  score_progress progress_;
};

template <executor X, class Model, reverse_samples Samples>
double loss_sensitivity<X, Model, Samples>::visit(gradient_visitor visit) const {
  auto pass = reverse_of(exec_, model_);
  std::vector<float> scores;
  return pass.gradients(
      samples_, {.form = gradient_form::mean},
      [&](std::string_view tensor, index_t rows, index_t columns, std::span<const float> mean) {
        scores.resize(mean.size());
        const auto number = static_cast<std::size_t>(find_tensor(model_.tensors(), tensor));
        model_.tensors()[number].weight.visit([&](const auto& w) {
          for (index_t o = 0; o < rows; ++o) {
            decode_row(w, o, scores.data() + o * columns);
          }
        });
        for (std::size_t i = 0; i < scores.size(); ++i) {
          scores[i] = std::fabs(scores[i] * mean[i]);
        }
        visit(tensor, rows, columns, std::span<const float>(scores));
      },
      progress_);
}

}  // namespace zoq
