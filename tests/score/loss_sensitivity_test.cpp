// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/loss_sensitivity.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "model/tiny_llama.hpp"
#include "score/reference_gradients.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/objective/option_likelihood.hpp"
#include "zoq/score/task_samples.hpp"

using zoq::example;
using zoq::llama;
using namespace zoq::test;

TEST_CASE_TEMPLATE("loss_sensitivity: decoded weight times mean gradient, on text and on rows", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const tiny_llama tiny({.format = "q4_1"});
  const llama model = tiny.model();
  const auto check = [&](const visited& got, const gradients& a, const gradients& b) {
    CHECK(std::fabs(got.loss - (a.loss + b.loss) / 2) <= 1e-5);
    REQUIRE(got.order.size() == 14);
    for (std::size_t t = 0; t < tiny.tensors.size(); ++t) {
      if (tiny.tensors[t].role != zoq::tensor_role::linear) {
        continue;
      }
      const std::vector<float> w = tiny.tensors[t].weight.decoded();
      std::vector<double> wanted;
      for (std::size_t i = 0; i < w.size(); ++i) {
        wanted.push_back(
            std::fabs(static_cast<double>(w[i]) * (a.tensor[t][i] + b.tensor[t][i]) / 2));
      }
      // Float gradients through two layers err by some 1e-6 of their norm.
      CHECK(relative_error(got.of.at(tiny.tensors[t].name), wanted) <= 1e-5);
    }
  };
  const std::vector<std::vector<zoq::token_t>> texts = {some_tokens(7, 1, 96),
                                                        some_tokens(12, 2, 96)};
  check(visited(zoq::loss_sensitivity(exec, model, zoq::text_samples{texts})),
        next_token_gradients(tiny.config, tiny.decoded(), texts[0]),
        next_token_gradients(tiny.config, tiny.decoded(), texts[1]));
  const std::vector<example> rows = {{some_tokens(5, 1, 96), {{11}, {23, 24}}, 1},
                                     {some_tokens(3, 2, 96), {{7, 8}, {30}}, 0}};
  const zoq::loss_sensitivity task(exec, model, zoq::task_samples{rows, zoq::option_likelihood{}});
  CHECK(task.entries() == model.config().linear_weights());
  check(visited(task), task_gradients(tiny.config, tiny.decoded(), rows[0]),
        task_gradients(tiny.config, tiny.decoded(), rows[1]));
}
