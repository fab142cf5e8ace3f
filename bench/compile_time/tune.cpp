// The README's program, whole: tunes MODEL on ROWS, at the weights that TEXT shows to be sensitive.
// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <zoq/io.hpp>
#include <zoq/zoq.hpp>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: tune MODEL.gguf ROWS.jsonl TEXT.txt\n";
    return 2;
  }
  try {
    zoq::cpu exec;
    auto model = zoq::llama::open(argv[1]);
    const zoq::tokenizer words(zoq::open_gguf(argv[1]));
    const auto rows = zoq::encode_rows(words, zoq::read_rows(argv[2]));
    std::ifstream file(argv[3]);
    const std::string plain(std::istreambuf_iterator<char>(file), {});
    const auto tokens = words.encode(plain);
    const auto first = zoq::choose_windows(static_cast<zoq::index_t>(tokens.size()), {});
    const auto text = zoq::windows_at(tokens, first, 128);

    auto mask = zoq::top_k(zoq::fisher(exec, model, text), {.density = 0.001});
    auto tuned = zoq::sparse_view(exec, model.tensors(), mask);
    zoq::trainer trainer{exec,
                         model,
                         tuned,
                         zoq::option_likelihood{},
                         zoq::spsa{.epsilon = 5e-3},
                         zoq::sgd{.rate = 3e-4}};
    trainer.run(rows, {.steps = 400});
    zoq::save_delta("delta.safetensors", tuned);
  } catch (const std::exception& e) {
    std::cerr << "tune: " << e.what() << "\n";
    return 1;
  }
}
