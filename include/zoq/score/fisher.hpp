// fisher: the sensitivity of a weight is its mean squared gradient on plain text (the empirical
// Fisher information's diagonal):
//
//     score[w] = mean over windows of (d mean-next-token-loss(window) / d w)^2
//
//     auto mask = zoq::top_k(zoq::fisher(exec, model, windows), {.density = 0.001});
//
// The model's reverse pass is found by its type: include model/llama_reverse.hpp beside this.
// No task is seen: one mask serves all. arXiv 2406.02913, section 3. Offline; about six forward
// passes over the windows, squares of one layer at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

template <executor X, class Model>
class fisher {
 public:
  static constexpr std::string_view name = "fisher";
  using progress_function = std::function<void(index_t done, index_t all)>;

  /// windows: token ids, all of one length. Keeps references to executor and model.
  fisher(
      const X& exec, const Model& model, std::vector<std::vector<token_t>> windows,
      progress_function progress = [](index_t, index_t) {})
      : exec_(exec), model_(model), windows_(std::move(windows)), progress_(std::move(progress)) {}

  [[nodiscard]] index_t entries() const { return linear_weights(model_.tensors()); }

  /// Calls visit(tensor name, rows, columns, scores) for every matrix of a linear layer, the last
  /// layer first. Returns the mean loss of the windows.
  template <class Visit>
  double visit(Visit&& visit) const {
    auto pass = reverse_of(exec_, model_);
    return pass.squared_gradients(windows_, visit, progress_);
  }

 private:
  const X& exec_;
  const Model& model_;
  std::vector<std::vector<token_t>> windows_;
  progress_function progress_;
};

}  // namespace zoq
