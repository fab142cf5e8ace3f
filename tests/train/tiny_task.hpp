// A task that a tiny model can learn in a few steps, and one run of training.
//
//     auto out = zoq::test::train(exec, model, places, rows, {.steps = 10});
//     out.values;  out.steps[3].answers;  out.cost.evaluations;
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "model/tiny_llama.hpp"
#include "zoq/data/example.hpp"
#include "zoq/estimate/spsa.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/objective/option_likelihood.hpp"
#include "zoq/optim/momentum.hpp"
#include "zoq/optim/sgd.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/train/trainer.hpp"
#include "zoq/view/sparse.hpp"

namespace zoq::test {

/// Prompts of 3 to 6 tokens, two options of one and two tokens; always the same one is right.
inline std::vector<example> tiny_task(index_t rows, index_t answer = 1, index_t vocabulary = 96) {
  std::vector<example> out;
  for (index_t i = 0; i < rows; ++i) {
    out.push_back({some_tokens(3 + i % 4, static_cast<seed_t>(100 + i), vocabulary),
                   {{11}, {23, 24}},
                   answer});
  }
  return out;
}

/// The largest 5 % of every matrix.
inline mask large_weights(const llama& model) {
  mask m = top_k(magnitude(model.tensors()), {.density = 0.05});
  m.model_hash = model.hash();
  return m;
}

struct outcome {
  std::vector<float> values;  // [k] after the last step
  std::vector<step_result> steps;
  train_cost cost;
};

template <class X, class Start, class Estimator = spsa, class Optimizer = sgd,
          class Objective = option_likelihood>
outcome train(const X& exec, const llama& model, const Start& places, std::span<const example> rows,
              const train_options& options, const Estimator& estimator = {},
              const Optimizer& optimizer = {.rate = 0.02}, const Objective& wanted = {}) {
  outcome out;
  auto view = sparse_view(exec, model.tensors(), places);
  trainer run(exec, model, view, wanted, estimator, optimizer);
  run.run(rows, options, [&](const step_result& s) {
    out.steps.push_back(s);
    return true;
  });
  out.values = view.to_delta().values;
  out.cost = run.cost();
  return out;
}

/// All losses of a run, in order.
inline std::vector<double> losses_of(const outcome& run) {
  std::vector<double> out;
  for (const step_result& s : run.steps) {
    for (const answer& a : s.answers) {
      out.push_back(a.loss);
    }
  }
  return out;
}

/// An optimizer with a state, at a rate that suits the tiny task.
inline constexpr zoq::momentum with_state{.rate = 0.002};

}  // namespace zoq::test
