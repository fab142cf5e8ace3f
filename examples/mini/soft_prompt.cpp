// A soft prompt: no weight changes; four rows that stand before every text, as tokens do, are all that is tuned.
//
// Its last line: 128 values tuned, loss 0\.5\d* -> 0\.[01]\d*
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/option_likelihood.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/view/laid_out.hpp>
#include <zoq/view/prompt.hpp>
#include <zoq/view/values_file.hpp>

#include "tiny_model.hpp"

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  std::vector<zoq::example> rows;
  for (const char* text : {"one", "two", "three", "four", "five", "six"}) {
    rows.push_back({tiny::tokens(text), {tiny::tokens(" apple"), tiny::tokens(" pears")}, 1});
  }

  const zoq::prompt_settings how{.rows = 4};
  const zoq::view_target target = zoq::target_of(model);
  zoq::laid_out_view tuned(exec, zoq::prompt_layout<zoq::cpu>(exec, target, how));
  zoq::trainer trainer{exec,
                       model,
                       tuned,
                       zoq::option_likelihood{},
                       zoq::spsa{.epsilon = 1e-2, .probes = 4},
                       zoq::sgd{.rate = 0.2}};
  const double before = trainer.measure(rows).branch[0].mean();
  trainer.run(rows, {.steps = 200, .batch_size = 6});
  const double after = trainer.measure(rows).branch[0].mean();
  zoq::save_values("soft_prompt.safetensors", exec, how, target, tuned, model.hash());

  std::cout << tuned.order().size << " values tuned, loss " << before << " -> " << after << "\n";
  return after < 0.5 * before ? 0 : 1;
}
