// Whole passes that must come out on every executor as they do in plain loops: scores, masks, tuning.
//
//     zoq::test::scores_agree(exec);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <vector>

#include "cuda/plain.hpp"
#include "model/tiny_llama.hpp"
#include "train/tiny_task.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/train/trainer.hpp"
#include "zoq/view/sparse.hpp"

namespace zoq::test {

/// Log-likelihoods of a packed batch, and the logits of a sequence that goes on token by token.
template <class X>
void scores_agree(const X& exec, double tolerance) {
  const llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  packing batch;
  const index_t prompt = batch.add(some_tokens(30, 1, 300));
  for (const seed_t option : {seed_t{2}, seed_t{3}}) {
    const std::vector<token_t> tokens = some_tokens(4, option, 300);
    batch.add(tokens, prompt);
  }
  batch.add(some_tokens(50, 4, 300));
  batch.read(prompt, 29, 7);
  batch.read(1, 0, 8);
  batch.read(2, 3, 9);
  for (index_t i = 0; i < 50; i += 2) {
    batch.read(3, i, static_cast<token_t>(i));
  }
  const auto run = [&](const auto& e) {
    llama_forward pass(e, model);
    std::vector<double> out(batch.reads.size());
    pass.score(batch, {}, out);
    std::vector<float> logits;
    pass.start_sequence(20);
    pass.extend(some_tokens(5, 1, 300), {}, logits);
    pass.extend(std::vector<token_t>{7}, {}, logits);
    out.insert(out.end(), logits.begin(), logits.end());
    return out;
  };
  CHECK(largest_difference(run(exec), run(plain{})) <= tolerance);
}

/// A mask of sensitive weights made here and there: the same places but for ties of rounding.
template <class X>
void masks_agree(const X& exec) {
  const llama model = tiny_llama({.config = small_config(), .format = "q4_1"}).model();
  std::vector<std::vector<token_t>> windows;
  for (seed_t seed = 1; seed <= 3; ++seed) {
    windows.push_back(some_tokens(24, seed, 300));
  }
  const auto run = [&](const auto& e) {
    std::vector<std::int64_t> places;
    std::int64_t first = 0;
    for (const tensor_mask& t : top_k(fisher(e, model, windows), {.density = 0.01}).tensors) {
      for (const auto i : t.index) {
        places.push_back(first + static_cast<std::int64_t>(i));
      }
      first += t.rows * t.columns;
    }
    return places;
  };
  const auto a = run(exec), b = run(plain{});
  std::vector<std::int64_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  CHECK(a.size() == b.size());
  CHECK(static_cast<double>(both.size()) >= 0.99 * static_cast<double>(b.size()));  // R9
}

/// Tuning takes the same steps, and what it leaves behind serves the other executor (a mixed run).
template <class X>
void tuning_agrees(const X& exec) {
  const llama model = tiny_llama({.format = "q4_1"}).model();
  const mask places = large_weights(model);
  const std::vector<example> rows = tiny_task(12);
  const train_options options = {.steps = 5, .batch_size = 6, .seed = 3};
  const outcome here = train(exec, model, places, rows, options);
  const outcome there = train(plain{}, model, places, rows, options);
  // Losses err by some 1e-6; slopes by that over epsilon, 1e-3; values by that times the rate.
  CHECK(largest_difference(losses_of(here), losses_of(there)) <= 1e-4);
  CHECK(largest_difference(here.values, there.values) <= 1e-3);

  const delta left = {places, here.values};
  const auto loss = [&](const auto& e) {
    auto view = sparse_view(e, model.tensors(), left);
    trainer run(e, model, view, option_likelihood{}, spsa{}, sgd{.rate = 0.02});
    return run.measure(rows, [](const evaluation&) { return true; }).branch[0].mean();
  };
  CHECK(std::fabs(loss(exec) - loss(plain{})) <= 1e-5);
}

}  // namespace zoq::test
