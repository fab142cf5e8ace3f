// Every score that a mask can be made from: how long it takes, and how many forward passes over the same
// text that is.
//
//     score_bench --model model.gguf [--threads 2] [--kernels avx2] [--repeats 3]
//
// score/NAME: top_k of the score over 4 windows of 64 drawn tokens, or over rows that are the same
// tokens. `over_forward` compares with the losses of all tokens, in f32 and timed in turn: medians of
// the repeats' ratios; for a score of P probes it is divided by P and the number of matrices, and so
// should be near 2. The mask must have its 0.1 % and, where the score has a loss, the forward's.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/setup.hpp"
#include "zoq/score/scores.hpp"

namespace {

using zoq::index_t;

struct session {
  zoq::llama model;
  zoq::cpu_options how;
  index_t repeats;
};

/// What a score made, and in how many probes of how many matrices.
struct made {
  zoq::mask mask;
  double loss = 0;  // 0: the score has none
  index_t probes = 1;
};

/// The mask of a score whose visit returns a loss, and that loss.
template <class Score>
made with_loss(const Score& score) {
  made out;
  zoq::top_k_selector selector({}, score.entries());
  out.loss = score.visit([&](const auto&... all) { selector.add(all...); });
  out.mask = selector.finish();
  return out;
}

class setting {
 public:
  explicit setting(const session& s)
      : exec_(s.how), model_(s.model), forward_(zoq::forward_of(exec_, model_)) {
    for (zoq::seed_t seed = 0; seed < 4; ++seed) {
      windows_.push_back(zoq::bench::some_tokens(64, seed, model_.config().vocabulary));
      const auto& w = windows_.back();
      rows_.push_back({{w[0]}, {{w.begin() + 1, w.end()}}});
    }
  }

  double loss(const zoq::branch_parts& at = {}) {
    return zoq::evaluate(forward_, at, zoq::next_token{}, zoq::bench::all_of(rows_))
        .branch[0]
        .mean();
  }

  made make(std::string_view name) {
    const auto tensors = model_.tensors();
    const auto moved = [this](const zoq::branch_parts& at) { return loss(at); };
    const zoq::fisher fisher(exec_, model_, windows_);
    index_t matrices = 0;
    for (const zoq::model_tensor& t : tensors) {
      matrices += t.role == zoq::tensor_role::linear ? 1 : 0;
    }
    if (name == "fisher") {
      return with_loss(fisher);
    }
    if (name == "fisher-task") {
      return with_loss(zoq::fisher_task(exec_, model_, rows_, zoq::next_token{}));
    }
    if (name == "loss-sensitivity") {
      return with_loss(zoq::loss_sensitivity(exec_, model_, zoq::text_samples{windows_}));
    }
    if (name == "neuron") {
      return with_loss(zoq::neuron{fisher});
    }
    if (name == "hessian-trace") {
      const auto traces = zoq::hessian_trace(exec_, tensors, moved, {.probes = 1}).of_tensors();
      const auto counts = zoq::tensor_budget(traces, wanted());
      return {zoq::top_k(zoq::magnitude(tensors), {.per = zoq::scope::tensor, .counts = counts}), 0,
              matrices};
    }
    if (name == "forward-curvature") {
      return {zoq::top_k(zoq::forward_curvature(exec_, tensors, moved, {.probes = 2})), 0,
              2 * matrices};
    }
    if (name == "magnitude") {
      return {zoq::top_k(zoq::magnitude(tensors))};
    }
    if (name == "magnitude-smallest") {
      return {zoq::top_k(zoq::magnitude_smallest(tensors))};
    }
    return {zoq::top_k(zoq::random_score(tensors, 1))};
  }

  /// 0.1 % of every matrix.
  [[nodiscard]] index_t wanted() const {
    index_t k = 0;
    for (const zoq::model_tensor& t : model_.tensors()) {
      k += t.role == zoq::tensor_role::linear ? t.weight.rows() * t.weight.columns() / 1000 : 0;
    }
    return k;
  }

 private:
  zoq::cpu exec_;
  const zoq::llama& model_;
  decltype(zoq::forward_of(std::declval<const zoq::cpu&>(),
                           std::declval<const zoq::llama&>())) forward_;
  std::vector<std::vector<zoq::token_t>> windows_;
  std::vector<zoq::example> rows_;
};

void score(benchmark::State& state, const session& s, const zoq::score_entry& entry) {
  setting here(s);
  const made first = here.make(entry.name);
  const double loss = here.loss();
  if (first.mask.count() != here.wanted() ||
      (first.loss != 0 && !(std::fabs(first.loss - loss) <= 1e-4 * loss))) {
    state.SkipWithError(("the mask has " + std::to_string(first.mask.count()) + " places, wanted " +
                         std::to_string(here.wanted()) + "; the loss is " +
                         std::to_string(first.loss) + ", the forward's " + std::to_string(loss))
                            .c_str());
    return;
  }
  zoq::bench::paired times;
  for (auto _ : state) {
    const double seconds = zoq::bench::seconds_of([&] { here.make(entry.name); });
    state.SetIterationTime(seconds);
    times.add(seconds, zoq::bench::seconds_of([&] { here.loss(); }));
  }
  state.counters["over_forward"] = times.ratio() / static_cast<double>(first.probes);
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<session> s;
  return zoq::bench::run_benchmarks("score_bench", argc, argv, [&](int& count, char** all) {
    const zoq::bench::arguments given("score_bench", count, all,
                                      zoq::bench::model_options({{"--repeats", "3"}}));
    s.emplace(session{zoq::bench::model_of(given), zoq::bench::cpu_of(given),
                      given.number("--repeats", 1)});
    benchmark::AddCustomContext("model", zoq::bench::about(given, s->model));
    for (const zoq::score_entry& entry : zoq::score_entries) {
      const std::string name = "score/" + std::string(entry.name);
      benchmark::RegisterBenchmark(name.c_str(),
                                   [&s, &entry](benchmark::State& b) { score(b, *s, entry); })
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->Iterations(s->repeats);
    }
  });
}
