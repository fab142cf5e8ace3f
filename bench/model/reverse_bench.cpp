// The reverse pass, which scores weights offline: tokens a second, and how many forward passes of the
// same tokens it costs.
//
//     reverse_bench --model model.gguf [--threads 2] [--kernels avx2] [--repeats 5]
//
// reverse/WINDOWSxLENGTH: squared gradients of all linear weights over so many windows of drawn
// tokens. It is timed in turn with two forward passes: `over_forward` compares with the losses of all
// tokens of the windows, which the reverse pass needs too; `over_answers` with one answer a window, as
// tuning reads it. All in f32, as the reverse pass always is. Medians of the repeats' ratios. The loss
// that the reverse pass returns is compared with the forward's before anything is timed.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "model/setup.hpp"

namespace {

using zoq::index_t;

struct session {
  zoq::llama model;
  zoq::cpu_options how;
  index_t repeats;
};

/// The windows as rows of data: `first` tokens are given, the rest is predicted.
std::vector<zoq::example> rows_of_windows(const std::vector<std::vector<zoq::token_t>>& windows,
                                          index_t first) {
  std::vector<zoq::example> out;
  for (const auto& w : windows) {
    out.push_back({{w.begin(), w.begin() + first}, {{w.begin() + first, w.end()}}});
  }
  return out;
}

void reverse(benchmark::State& state, const session& s, index_t count, index_t length) {
  const zoq::cpu exec(s.how);
  std::vector<std::vector<zoq::token_t>> windows;
  for (index_t w = 0; w < count; ++w) {
    windows.push_back(
        zoq::bench::some_tokens(length, static_cast<zoq::seed_t>(w), s.model.config().vocabulary));
  }
  const auto everywhere = rows_of_windows(windows, 1),
             answers = rows_of_windows(windows, length - 1);
  zoq::llama_forward<zoq::cpu> pass(exec, s.model);
  const auto forward = [&](const std::vector<zoq::example>& rows) {
    return zoq::evaluate(pass, {}, zoq::next_token{}, zoq::bench::all_of(rows)).branch[0].mean();
  };
  zoq::llama_reverse<zoq::cpu> back(exec, s.model);
  double squares = 0;
  const auto visit = [&](const std::string&, index_t, index_t, std::span<const float> values) {
    squares += static_cast<double>(values[0]);
  };
  const auto scores = [&] {
    return back.squared_gradients(windows, visit, [](index_t, index_t) {});
  };

  const double found = scores(), wanted = forward(everywhere);
  if (!(std::fabs(found - wanted) <= 1e-4 * wanted) || !(squares > 0)) {
    state.SkipWithError(("the loss is " + std::to_string(found) + ", the forward's " +
                         std::to_string(wanted) + "; squared gradients " + std::to_string(squares))
                            .c_str());
    return;
  }
  zoq::bench::paired all_losses, one_answer;
  for (auto _ : state) {
    const double seconds = zoq::bench::seconds_of(scores);
    state.SetIterationTime(seconds);
    all_losses.add(seconds, zoq::bench::seconds_of([&] { forward(everywhere); }));
    one_answer.add(seconds, zoq::bench::seconds_of([&] { forward(answers); }));
  }
  state.counters["tokens/s"] =
      static_cast<double>(count * length) / zoq::bench::median(all_losses.first);
  state.counters["over_forward"] = all_losses.ratio();
  state.counters["over_answers"] = one_answer.ratio();
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<session> s;
  return zoq::bench::run_benchmarks("reverse_bench", argc, argv, [&](int& count, char** all) {
    const zoq::bench::arguments given("reverse_bench", count, all,
                                      zoq::bench::model_options({{"--repeats", "5"}}));
    s.emplace(session{zoq::bench::model_of(given), zoq::bench::cpu_of(given),
                      given.number("--repeats", 1)});
    benchmark::AddCustomContext("model", zoq::bench::about(given, s->model));
    constexpr index_t sizes[][2] = {{1, 128}, {4, 128}, {8, 128}, {1, 512}};
    for (const auto& [windows, length] : sizes) {
      const std::string name = "reverse/" + std::to_string(windows) + "x" + std::to_string(length);
      benchmark::RegisterBenchmark(name.c_str(), [&s, n = windows, t = length](
                                                     benchmark::State& b) { reverse(b, *s, n, t); })
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->Iterations(s->repeats);
    }
  });
}
