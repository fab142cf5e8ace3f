// fisher: the sensitivity of a weight is its mean squared gradient on plain text (the empirical
// Fisher information's diagonal):
//
//     score[w] = mean over windows of (d mean-next-token-loss(window) / d w)^2
//
//     auto mask = zoq::top_k(zoq::fisher(exec, model, windows), {.density = 0.001});
//
// With `square_of_mean` it is (mean gradient)^2 instead: what all windows agree on. No task is seen:
// one mask serves all. The model's reverse pass is found by its type: include model/llama_reverse.hpp
// beside this. arXiv 2406.02913, section 3. Offline; squares of one layer at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// Called after each piece of work.
using score_progress = std::function<void(index_t done, index_t all)>;

/// What is averaged, and where gradients are taken.
struct fisher_options {
  bool square_of_mean = false;  // (mean gradient)^2, see above
  /// Where gradients are taken: the base, or a sparse view's branches() beside it.
  branch_parts at{};

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("square_of_mean", self.square_of_mean);
  }
};

/// Windows of text may be given as they are.
template <executor X, class Model, reverse_samples Samples = text_samples>
class fisher {
 public:
  static constexpr std::string_view name = "fisher";
  static constexpr std::string_view summary = "mean squared gradient on general text";
  static constexpr std::string_view paper = "arXiv 2406.02913";
  static constexpr std::string_view cost = "about 6 forwards over the text, with a reverse pass";

  /// Keeps references to executor and model, and to what `options.at` refers to.
  fisher(
      const X& exec, const Model& model, Samples samples,
      score_progress progress = [](index_t, index_t) {}, const fisher_options& options = {})
      : exec_(exec),
        model_(model),
        samples_(std::move(samples)),
        progress_(std::move(progress)),
        options_(options) {}
  /// The same of windows of text.
  fisher(
      const X& exec, const Model& model, std::vector<std::vector<token_t>> windows,
      score_progress progress = [](index_t, index_t) {}, const fisher_options& options = {})
      : fisher(exec, model, Samples{std::move(windows)}, std::move(progress), options) {}

  /// Weights of linear layers: as many as there are scores.
  [[nodiscard]] index_t entries() const { return linear_weights(model_.tensors()); }

  /// Calls visit(tensor name, rows, columns, scores) for every matrix of a linear layer, the last
  /// layer first. Returns the mean loss of the samples.
  double visit(gradient_visitor visit) const;

 private:
  const X& exec_;
  const Model& model_;
  Samples samples_;
  score_progress progress_;
  fisher_options options_;
};

template <executor X, class Model, reverse_samples Samples>
double fisher<X, Model, Samples>::visit(gradient_visitor visit) const {
  auto pass = reverse_of(exec_, model_);
  if (!options_.square_of_mean) {
    return pass.gradients(samples_, {.at = options_.at}, visit, progress_);
  }
  std::vector<float> squares;
  return pass.gradients(
      samples_, {.form = gradient_form::mean, .at = options_.at},
      [&](std::string_view tensor, index_t rows, index_t columns, std::span<const float> mean) {
        squares.assign(mean.begin(), mean.end());
        for (float& g : squares) {
          g *= g;
        }
        visit(tensor, rows, columns, std::span<const float>(squares));
      },
      progress_);
}

}  // namespace zoq
