// Preferences (DPO): pairs of answers, of which one is liked better. The untuned model is the reference.
//
// Its last line: loss 0\.693\d* -> [\d.e-]+; the chosen answer gained in 6 of 6 pairs
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/dpo.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/view/laid_out.hpp>
#include <zoq/view/lora.hpp>

#include "tiny_model.hpp"

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  std::vector<zoq::example> rows;  // prompt, the chosen and the rejected answer
  for (const char* prompt : {"Hello", "Good day", "How are you?", "Thanks", "Goodbye", "See you"}) {
    rows.push_back({tiny::tokens(prompt), {tiny::tokens(" dear"), tiny::tokens(" HEY")}, 0});
  }

  zoq::laid_out_view tuned(exec,
                           zoq::lora_layout<zoq::cpu>(exec, zoq::target_of(model), {.rank = 4}));
  zoq::trainer trainer{exec,
                       model,
                       tuned,
                       zoq::dpo{.beta = 0.5},
                       zoq::spsa{.epsilon = 1e-2, .probes = 4},
                       zoq::sgd{.rate = 2e-2}};
  trainer.set_references(rows);
  const double before = trainer.measure(rows).branch[0].mean();
  trainer.run(rows, {.steps = 200, .batch_size = 6});
  const auto after = trainer.measure(rows);

  std::cout << "loss " << before << " -> " << after.branch[0].mean()
            << "; the chosen answer gained in " << after.right << " of " << after.rows
            << " pairs\n";
  return after.right == after.rows ? 0 : 1;
}
