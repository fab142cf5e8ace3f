// How often a model gives the right answer to rows of choices.
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <vector>
#include <zoq/data/encode.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/io/open_model_file.hpp>
#include <zoq/model/decoder_forward.hpp>
#include <zoq/model/on_cpu.hpp>
#include <zoq/model/open.hpp>
#include <zoq/objective/option_likelihood.hpp>
#include <zoq/train/evaluate.hpp>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: evaluate MODEL ROWS.jsonl\n";
    return 2;
  }
  const zoq::cpu exec;
  const auto model = zoq::open_model(argv[1]);
  const zoq::tokenizer words(zoq::open_model_file(argv[1]));
  const auto rows = zoq::encode_rows(words, zoq::read_rows(argv[2]));
  std::vector<const zoq::example*> all;
  for (const zoq::example& row : rows) {
    all.push_back(&row);
  }
  auto pass = zoq::forward_of(exec, model);
  std::cout << zoq::evaluate(pass, {}, zoq::option_likelihood{}, all).accuracy() << "\n";
}
