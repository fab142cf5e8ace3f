// From nothing: all weights of a tiny model, random at first, by forward passes alone. It learns which letters
// there are, and a little of what follows what. (A large model is not made in this way: the steps that are needed
// grow with what there is to learn.)
//
// Its last line: 34976 weights, loss 5\.\d* -> 0\.\d+
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
  const std::string text = "abcabcabcabcabcabcabcabcabcabcabc";
  std::vector<zoq::example> rows;
  for (std::size_t at = 0; at < 3; ++at) {
    const auto window = tiny::tokens(std::string_view(text).substr(at, 16));
    rows.push_back({{window[0]}, {{window.begin() + 1, window.end()}}});
  }

  zoq::laid_out_view all(exec, zoq::dense_layout<zoq::cpu>(exec, zoq::target_of(model), {}));
  zoq::trainer trainer{exec,
                       model,
                       all,
                       zoq::next_token{},
                       zoq::spsa{.epsilon = 1e-3, .probes = 8},
                       zoq::adam{.rate = 5e-3}};
  double first = 0, last = 0;
  trainer.run(rows, {.steps = 200, .batch_size = 3, .schedule = zoq::cosine{}},
              [&](const zoq::step_result& at) {
                first = at.step == 0 ? at.loss : first;
                last = at.loss;
                if (at.step % 50 == 0) {
                  std::cout << "step " << at.step << ": loss " << at.loss << "\n";
                }
                return true;
              });

  std::cout << all.order().size << " weights, loss " << first << " -> " << last << "\n";
  return last < std::log(3.0) ? 0 : 1;  // below what the share of each letter tells
}
