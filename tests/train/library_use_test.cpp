// SPDX-License-Identifier: Apache-2.0
// The whole library in use, as its documentation shows it.
#include <doctest/doctest.h>

#include <string>
#include <vector>
#include <zoq/io.hpp>
#include <zoq/zoq.hpp>

#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"

namespace {

// A vocabulary of all bytes, so that any text has tokens.
void write_model(const std::string& path) {
  zoq::llama_config config = zoq::test::tiny_config();
  config.vocabulary = 256;
  zoq::test::tiny_llama({.config = config, .format = "q4_1"}).write_with_tokenizer(path);
}

}  // namespace

TEST_CASE("library: the documentation's example compiles and runs") {
  const zoq::test::temporary_folder folder;
  const std::string gguf = folder / "model.gguf", out = folder / "delta.safetensors",
                    jsonl = folder / "train.jsonl";
  write_model(gguf);
  zoq::test::put(jsonl,
                 R"({"prompt": "A fine film. It was", "choices": [" bad", " good"], "answer": 1}
{"prompt": "Dull. It was", "choices": [" bad", " good"], "answer": 0}
)");

  const zoq::tokenizer words(zoq::open_gguf(gguf));
  const auto rows = zoq::encode_rows(words, zoq::read_rows(jsonl));
  const auto tokens = words.encode("Any running text will do, as long as it is long enough.");
  const auto text = zoq::windows_at(tokens,
                                    zoq::choose_windows(static_cast<zoq::index_t>(tokens.size()),
                                                        {.samples = 3, .length = 16, .seed = 0}),
                                    16);

  zoq::cpu exec;
  auto model = zoq::llama::open(gguf);
  auto mask = zoq::top_k(zoq::fisher(exec, model, text), {.density = 0.01});
  auto tuned = zoq::sparse_view(exec, model.tensors(), mask);
  zoq::trainer trainer{exec,
                       model,
                       tuned,
                       zoq::option_likelihood{},
                       zoq::spsa{.epsilon = 5e-3},
                       zoq::sgd{.rate = 3e-4f}};
  trainer.run(rows, {.steps = 4});
  zoq::save_delta(out, tuned);

  const zoq::delta got = zoq::read_delta(out);
  CHECK(got.places.tensors == mask.tensors);
  CHECK(got.values == tuned.to_delta().values);
  bool moved = false;
  for (const float v : got.values) {
    moved = moved || v != 0;
  }
  CHECK(moved);
  CHECK(trainer.cost().evaluations == 8);
}

TEST_CASE("library: the tuned values serve a new session beside the unchanged file") {
  const zoq::test::temporary_folder folder;
  write_model(folder / "model.gguf");
  const auto model = zoq::llama::open(folder / "model.gguf");
  const zoq::cpu exec;
  zoq::mask mask = zoq::top_k(zoq::random_score(model.tensors(), 1), {.density = 0.01});
  mask.model_hash = model.hash();
  std::vector<zoq::example> rows = {{{1, 2, 3}, {{4}, {5, 6}}, 0}, {{7, 8}, {{4}, {5, 6}}, 0}};
  zoq::total first;
  const auto loss = [&](auto& view) {
    zoq::trainer t{
        exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{.rate = 0.01}};
    return t.measure(rows, [](const zoq::evaluation&) { return true; }).branch[0];
  };
  {
    auto tuned = zoq::sparse_view(exec, model.tensors(), mask);
    zoq::trainer t{
        exec, model, tuned, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{.rate = 0.01}};
    t.run(rows, {.steps = 3, .batch_size = 2});
    first = loss(tuned);
    zoq::save_delta(folder / "delta.safetensors", tuned, {{"task", "tiny"}});
  }
  const zoq::delta d = zoq::read_delta(folder / "delta.safetensors");
  zoq::require_model(d.places, model.hash(), folder / "delta.safetensors");
  auto again = zoq::sparse_view(exec, model.tensors(), d);
  CHECK(loss(again) == first);
}
