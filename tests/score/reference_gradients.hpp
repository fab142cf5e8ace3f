// Gradients of any loss of likelihoods, in double, by the chain rule on a tape: what scores of tasks
// are tested against.
//
//     auto g = zoq::test::task_gradients(tiny, weights, row, zoq::option_score::mean);
//     g.loss;   g.tensor[t][i];
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/reference_llama.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/data/example.hpp"
#include "zoq/objective/option_likelihood.hpp"

namespace zoq::test {

/// loss(model) on the tape, and its gradients by tensor number.
template <class Loss>
gradients gradients_of(const llama_config& config, const std::vector<std::vector<float>>& weights,
                       Loss&& loss) {
  tape::nodes.clear();
  std::vector<std::vector<variable>> w;
  for (const auto& tensor : weights) {
    w.emplace_back();
    for (const float value : tensor) {
      w.back().push_back(variable::input(static_cast<double>(value)));
    }
  }
  const reference_llama<variable> model(config, std::move(w));
  const variable value = loss(model);
  const std::vector<double> all = tape::gradients(value.node);
  gradients out{value.value, {}};
  for (const auto& tensor : model.weights()) {
    out.tensor.emplace_back();
    for (const variable& x : tensor) {
      out.tensor.back().push_back(all[static_cast<std::size_t>(x.node)]);
    }
  }
  tape::nodes.clear();
  return out;
}

/// The loss of a row: of its options, or of its one completion. Every option is a text of its own.
template <class T>
T task_loss(const reference_llama<T>& model, const example& row, option_score score) {
  using std::exp;
  using std::log;
  std::vector<T> s;
  for (const auto& option : row.continuations) {
    std::vector<token_t> text = row.prompt;
    text.insert(text.end(), option.begin(), option.end());
    const auto logits = model.logits(text);
    T sum(0.0);
    for (std::size_t i = 0; i < option.size(); ++i) {
      sum = sum + model.log_likelihood(logits[row.prompt.size() + i - 1], option[i]);
    }
    const auto n = static_cast<double>(option.size());
    s.push_back(score == option_score::sum ? sum : sum / T(n));
  }
  if (s.size() == 1) {
    return T(0.0) - s[0];
  }
  T total(0.0);
  for (const T& x : s) {
    total = total + exp(x);
  }
  return log(total) - s[static_cast<std::size_t>(row.answer)];
}

inline gradients task_gradients(const llama_config& config,
                                const std::vector<std::vector<float>>& weights, const example& row,
                                option_score score = option_score::mean) {
  return gradients_of(config, weights,
                      [&](const auto& model) { return task_loss(model, row, score); });
}

/// What a score visits, by tensor name. The mean loss that visit returns, where it does.
struct visited {
  double loss = 0;
  std::vector<std::string> order;
  std::map<std::string, std::vector<float>> of;

  template <class Score>
  explicit visited(const Score& score) {
    const auto add = [&](std::string_view name, index_t rows, index_t columns,
                         std::span<const float> s) {
      require(rows * columns == static_cast<index_t>(s.size()), "test: ", name, " is no matrix");
      order.emplace_back(name);
      of[order.back()].assign(s.begin(), s.end());
    };
    if constexpr (std::is_void_v<decltype(score.visit(add))>) {
      score.visit(add);
    } else {
      loss = score.visit(add);
    }
  }
};

}  // namespace zoq::test
