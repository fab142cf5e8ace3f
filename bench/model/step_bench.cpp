// A zeroth-order step on a real model by parts: tokens a second, and what the estimate costs beside
// the forward passes.
//
//     step_bench --model model.gguf [--rows 16] [--tokens 24] [--threads 2] [--compute bf16] [--steps 9]
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>
#include <zoq/zoq.hpp>

namespace {

using clock_type = std::chrono::steady_clock;
double since(clock_type::time_point start) {
  return std::chrono::duration<double>(clock_type::now() - start).count();
}
double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + static_cast<long>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

// Rows of so many tokens, drawn at random, with two one-token options.
std::vector<zoq::example> some_rows(zoq::index_t count, zoq::index_t tokens,
                                    zoq::index_t vocabulary) {
  std::vector<zoq::example> out;
  for (zoq::index_t r = 0; r < count; ++r) {
    zoq::example e;
    for (zoq::index_t t = 0; t < tokens; ++t) {
      const auto word = zoq::philox(7, static_cast<std::uint64_t>(r * tokens + t)).at[0];
      e.prompt.push_back(static_cast<zoq::token_t>(word % static_cast<std::uint64_t>(vocabulary)));
    }
    e.continuations = {{1}, {2}};
    e.answer = r % 2;
    out.push_back(e);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options = {
      {"--rows", "16"}, {"--tokens", "24"}, {"--threads", "0"},    {"--compute", "bf16"},
      {"--steps", "9"}, {"--kernels", ""},  {"--density", "0.001"}};
  for (int i = 1; i + 1 < argc; i += 2) {
    options[argv[i]] = argv[i + 1];
  }
  if (!options.contains("--model") || argc % 2 == 0) {
    std::fprintf(stderr,
                 "usage: step_bench --model FILE [--rows N] [--tokens N] [--threads N] "
                 "[--compute f32|bf16] [--kernels SET] [--density D] [--steps N]\n");
    return 2;
  }
  const auto number = [&](const char* key) { return std::atoll(options[key].c_str()); };
  try {
    zoq::cpu_options how{.threads = static_cast<int>(number("--threads")),
                         .products = zoq::compute_named(options["--compute"])};
    if (!options["--kernels"].empty()) {
      how.kernels = zoq::instruction_set_named(options["--kernels"]);
    }
    const zoq::cpu exec(how);
    const zoq::llama model = zoq::llama::open(options["--model"]);
    const zoq::mask mask = zoq::top_k(zoq::random_score(model.tensors(), 1),
                                      {.density = std::atof(options["--density"].c_str())});
    zoq::sparse_view view(exec, model.tensors(), mask);
    zoq::trainer trainer{exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{}};
    const auto rows = some_rows(number("--rows"), number("--tokens"), model.config().vocabulary);
    const auto steps = static_cast<std::uint64_t>(number("--steps"));
    trainer.start(rows, {.steps = steps + 1, .batch_size = number("--rows")});
    trainer.advance();  // pages, workspaces

    std::vector<double> step, forward, evaluation;
    zoq::llama_forward<zoq::cpu> plain(exec, model);
    std::vector<const zoq::example*> twice;  // as many rows as the two branches of a step
    for (int b = 0; b < 2; ++b) {
      for (const zoq::example& e : rows) {
        twice.push_back(&e);
      }
    }
    for (std::uint64_t s = 0; s < steps; ++s) {
      const double before = trainer.cost().seconds;
      auto start = clock_type::now();
      trainer.advance();
      step.push_back(since(start));
      forward.push_back(trainer.cost().seconds - before);
      start = clock_type::now();
      zoq::evaluate(plain, {}, zoq::option_likelihood{}, twice);
      evaluation.push_back(since(start));
    }
    const double tokens = 2.0 * static_cast<double>(number("--rows") * number("--tokens"));
    std::printf(
        "step %.1f ms (forward %.1f ms, rest %.2f %%), plain evaluation of the same tokens "
        "%.1f ms: ratio %.3f; %.0f tokens/s\n",
        1e3 * median(step), 1e3 * median(forward), 100 * (1 - median(forward) / median(step)),
        1e3 * median(evaluation), median(step) / median(evaluation), tokens / median(step));
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "step_bench: %s\n", e.what());
    return 1;
  }
}
