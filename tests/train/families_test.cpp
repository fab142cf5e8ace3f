// SPDX-License-Identifier: Apache-2.0
// The trainer's source knows no family of models: here it trains three.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "executors.hpp"
#include "tiny_task.hpp"
#include "zoq/train/trainer.hpp"

using namespace zoq::test;

TEST_CASE_TEMPLATE("R21: the same trainer trains every family, stacked as pair by pair", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const zoq::llama_config& config :
       {tiny_config(), tiny_gpt2_config(), tiny_openelm_config()}) {
    CAPTURE(std::string(config.family));
    for (const auto format : {"f32", "q4_1"}) {
      CAPTURE(format);
      const zoq::llama model =
          tiny_llama({.config = config, .format = format, .tied = true}).model();
      const std::vector<zoq::example> rows = tiny_task(8);
      const std::string before = model.hash();
      const auto learn = [&](zoq::index_t stacked) {
        return train(exec, model, large_weights(model), rows,
                     {.steps = 60, .batch_size = 4, .seed = 3, .stacked_branches = stacked},
                     zoq::spsa{.epsilon = 1e-2, .probes = 2});
      };
      const outcome together = learn(8), apart = learn(2);
      CHECK(losses_of(together) == losses_of(apart));
      CHECK(same_bits(together.values, apart.values));
      CHECK(model.hash() == before);
      const auto mean = [&](std::size_t first) {
        double sum = 0;
        for (std::size_t i = first; i < first + 10; ++i) {
          sum += together.steps[i].answers[0].loss + together.steps[i].answers[1].loss;
        }
        return sum / 20;
      };
      CHECK(mean(50) < 0.8 * mean(0));
    }
  }
}
