// Your own text: how well a model foretells it, before and after tuning on a part of it.
//
// Its last line: perplexity of held-out text: 3\d\d\S* -> [2-7]\d\S*
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <iostream>
#include <string>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/next_token.hpp>
#include <zoq/optim/adam.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/view/dense.hpp>
#include <zoq/view/laid_out.hpp>

#include "tiny_model.hpp"

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text += "on day " + std::to_string(i) + " the sea was calm and the sun was seen; ";
  }
  // Rows of 32 tokens: the first is the prompt, the others are to be foretold. Every fourth is held out.
  std::vector<zoq::example> train, held_out;
  for (std::size_t at = 0; at + 32 <= text.size(); at += 32) {
    const auto window = tiny::tokens(std::string_view(text).substr(at, 32));
    (at / 32 % 4 == 0 ? held_out : train)
        .push_back({{window[0]}, {{window.begin() + 1, window.end()}}});
  }

  zoq::laid_out_view tuned(exec, zoq::dense_layout<zoq::cpu>(exec, zoq::target_of(model), {}));
  zoq::trainer trainer{exec,
                       model,
                       tuned,
                       zoq::next_token{},
                       zoq::spsa{.epsilon = 1e-3, .probes = 4},
                       zoq::adam{.rate = 5e-3}};
  const auto perplexity = [&] { return std::exp(trainer.measure(held_out).branch[0].mean()); };
  const double before = perplexity();
  trainer.run(train, {.steps = 200, .batch_size = 8, .schedule = zoq::cosine{}});
  const double after = perplexity();

  std::cout << "perplexity of held-out text: " << before << " -> " << after << "\n";
  return after < 0.25 * before ? 0 : 1;
}
