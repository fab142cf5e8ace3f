// The whole library in thirty lines: a mask by Fisher information, a sparse view, a trainer.
//
// Its last line: loss 0\.[67]\d* -> 0\.[0-3]\d*, 6 of 6 right
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <zoq/view/delta.hpp>
#include <zoq/zoq.hpp>

#include "tiny_model.hpp"

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  std::vector<zoq::example> rows;
  for (const char* text : {"dull", "a treat", "poor", "so fine", "bleak", "splendid"}) {
    const auto right = static_cast<zoq::index_t>(rows.size() % 2);
    rows.push_back({tiny::tokens(text), {tiny::tokens(" bad"), tiny::tokens(" good")}, right});
  }
  const auto general = {tiny::tokens("Any running text will do."),
                        tiny::tokens("Here is some more.")};

  const zoq::mask mask = zoq::top_k(zoq::fisher(exec, model, general), {.density = 0.05});
  auto tuned = zoq::sparse_view(exec, model.tensors(), mask);
  zoq::trainer trainer{exec,
                       model,
                       tuned,
                       zoq::option_likelihood{},
                       zoq::spsa{.epsilon = 1e-2},
                       zoq::sgd{.rate = 0.02}};
  const double before = trainer.measure(rows).branch[0].mean();
  trainer.run(rows, {.steps = 300, .batch_size = 6});
  const auto after = trainer.measure(rows);
  zoq::save_delta("thirty_lines.safetensors", tuned);

  std::cout << mask.count() << " values tuned\nloss " << before << " -> " << after.branch[0].mean()
            << ", " << after.right << " of " << after.rows << " right\n";
  return after.right == after.rows ? 0 : 1;
}
