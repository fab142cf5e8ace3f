// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "cuda/pass_cases.hpp"
#include "zoq/exec/cuda.cuh"

using namespace zoq::test;

TEST_CASE("cuda: scores, masks and tuning in f32") {
  const zoq::cuda exec;
  scores_agree(exec, 1e-4);
  masks_agree(exec);
  tuning_agrees(exec);
}

TEST_CASE("cuda: scores in bf16") {
  // Logits of this model are of order one; bf16 rounds inputs and weights to 2^-9 of their sizes.
  scores_agree(zoq::cuda({.products = zoq::compute::bf16}), 0.05);
}

TEST_CASE("cuda: a step takes no memory") {
  const zoq::cuda exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<zoq::example> rows = tiny_task(8);
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{});
  std::vector<zoq::index_t> bytes;
  run.run(rows, {.steps = 4, .batch_size = 8}, [&](const zoq::step_result&) {
    bytes.push_back(exec.byte_count() + run.pass().byte_count());
    return true;
  });
  CHECK(bytes[1] == bytes[3]);
}
