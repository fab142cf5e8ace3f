// Data that come as a stream: each row is seen once, in the order in which it arrives, and none is kept. The
// trainer draws from rows that it has; here its parts are put together by hand.
//
// Its last line: mean loss of new rows: 0\.\d+ in the first 100 steps, 0\.0\d+ in the last
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/option_likelihood.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/train/step.hpp>
#include <zoq/view/dense.hpp>
#include <zoq/view/laid_out.hpp>

#include "tiny_model.hpp"

/// Stands for a queue or a socket: is a number odd?
zoq::example next_row() {
  static unsigned n = 0;
  n = n * 1103515245 + 12345;
  const unsigned digit = n >> 16 & 7;
  return {tiny::tokens("is it odd? " + std::to_string(digit)),
          {tiny::tokens("n"), tiny::tokens("y")},
          static_cast<zoq::index_t>(digit % 2)};
}

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  zoq::laid_out_view tuned(exec, zoq::dense_layout<zoq::cpu>(exec, zoq::target_of(model), {}));
  auto pass = zoq::forward_of(exec, model);
  zoq::stepper step(exec, tuned.order(), zoq::spsa{.epsilon = 1e-2, .probes = 4},
                    zoq::sgd{.rate = 2e-3}, {.steps = 500, .seed = 1});

  double first = 0, last = 0;  // means of 100 steps
  while (!step.done()) {
    std::vector<zoq::example> batch;
    std::vector<const zoq::example*> rows;
    for (int i = 0; i < 8; ++i) {
      batch.push_back(next_row());
    }
    for (const zoq::example& row : batch) {
      rows.push_back(&row);
    }
    const auto at = step.advance(tuned.values().data, [&](std::span<const zoq::query> asked,
                                                          std::vector<zoq::answer>& answers) {
      tuned.move_to(exec, step.direction(), asked);
      const auto found = zoq::evaluate(pass, tuned.branches(), zoq::option_likelihood{}, rows);
      for (const zoq::total& loss : found.branch) {
        answers.push_back({loss.mean()});
      }
    });
    (at.step < 100 ? first : last) += at.step < 100 || at.step >= 400 ? at.loss / 100 : 0;
  }

  std::cout << "mean loss of new rows: " << first << " in the first 100 steps, " << last
            << " in the last\n";
  return last < 0.8 * first ? 0 : 1;
}
