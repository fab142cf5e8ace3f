// A metric that has no derivative: how many answers are right, and nothing else. Only forwards are asked for, so
// that anything with a value can be tuned for.
//
// Its last line: right answers: 10 -> 2[2-6] of 26
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/accuracy.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/view/dense.hpp>
#include <zoq/view/laid_out.hpp>

#include "tiny_model.hpp"

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  // Does a word start with a vowel?
  std::vector<zoq::example> rows;
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    const bool vowel = std::string("aeiou").find(letter) != std::string::npos;
    rows.push_back({tiny::tokens(std::string("word ") + letter),
                    {tiny::tokens("n"), tiny::tokens("y")},
                    vowel});
  }

  // The loss is 1 - accuracy: a step of stairs. Probes must be long enough to change some answers.
  zoq::laid_out_view tuned(exec, zoq::dense_layout<zoq::cpu>(exec, zoq::target_of(model), {}));
  zoq::trainer trainer{exec,
                       model,
                       tuned,
                       zoq::accuracy{},
                       zoq::spsa{.epsilon = 0.02, .probes = 16},
                       zoq::sgd{.rate = 1e-2}};
  const double before = trainer.measure(rows).accuracy();
  trainer.run(rows, {.steps = 80, .batch_size = 26});
  const double after = trainer.measure(rows).accuracy();

  std::cout << "right answers: " << before * 26 << " -> " << after * 26 << " of 26\n";
  return after > before ? 0 : 1;
}
