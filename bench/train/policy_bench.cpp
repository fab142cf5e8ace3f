// Every policy of a step by name: what it adds to the forward passes.
//
//     policy_bench --benchmark_filter=estimator/
//
// estimator, direction, optimizer, schedule: whole steps on 2^17 values with losses that cost nothing;
// items are values. view: moving a pair of branches and a forward pass of 64 tokens each, on a
// synthetic model with the matrices of a SmolLM2-135M; items are tokens. objective: the loss of a row.
// Scores have score_bench, formats decode_bench.
// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>
#include <zoq/core/choice.hpp>
#include <zoq/core/settings.hpp>
#include <zoq/estimate/estimators.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/objectives.hpp>
#include <zoq/optim/optimizers.hpp>
#include <zoq/train/step.hpp>
#include <zoq/view/layouts.hpp>

#include "model/setup.hpp"

namespace {

using zoq::index_t;

constexpr index_t rows = 512, columns = 256, k = rows * columns;

void steps(benchmark::State& state, const zoq::any_estimator& e, const zoq::any_optimizer& o,
           const zoq::any_direction& direction, const zoq::any_schedule& schedule) {
  const zoq::cpu exec;
  const zoq::extent matrix{0, rows, columns};
  const zoq::value_order order{&matrix, 1, k};
  std::vector<float> values(static_cast<std::size_t>(k), 0.5f);
  zoq::stepper step(exec, order, e, o,
                    zoq::recipe{.steps = 1 << 20, .direction = direction, .schedule = schedule});
  double loss = 1;
  for (auto _ : state) {
    step.advance(values.data(), [&](std::span<const zoq::query> asked, auto& answers) {
      for (std::size_t i = 0; i < asked.size(); ++i) {
        answers.push_back({loss = 1 + std::fmod(1.7 * loss, 1e-3)});
      }
    });
  }
  for (const float v : values) {
    if (!std::isfinite(v)) {
      state.SkipWithError("a value is not finite");
    }
  }
  state.SetItemsProcessed(state.iterations() * k);
}

template <class Variant, class F>
void for_each_policy(const char* slot, const F& f) {
  for (const std::string& name : zoq::names_of<Variant>()) {
    benchmark::RegisterBenchmark((std::string(slot) + "/" + name).c_str(),
                                 [f, name, slot](benchmark::State& state) {
                                   f(state, zoq::policy_named<Variant>(slot, name));
                                 });
  }
}

void view(benchmark::State& state, const zoq::any_view& how, const zoq::llama& packed,
          const zoq::llama& floats) {
  const bool dense = std::holds_alternative<zoq::dense_settings>(how);
  const zoq::llama& model = dense ? floats : packed;
  const zoq::cpu exec;
  const zoq::mask places = zoq::top_k(zoq::random_score(model.tensors(), 1), {.density = 0.001});
  zoq::view_target target = zoq::target_of(model);
  target.places = &places;
  zoq::laid_out_view at(exec, zoq::layout_of(exec, how, target));
  auto pass = zoq::forward_of(exec, model);
  zoq::packing batch;
  const std::vector<zoq::token_t> tokens =
      zoq::bench::some_tokens(64, 1, model.config().vocabulary);
  batch.read(batch.add(tokens), 63, 1);
  const std::vector<zoq::query> pair = {{.seed = 3, .scale = 1e-3}, {.seed = 3, .scale = -1e-3}};
  std::vector<double> scores(2);
  for (auto _ : state) {
    at.move_to(exec, zoq::gaussian{}, pair);
    pass.score(batch, at.branches(), scores);
  }
  if (!std::isfinite(scores[0]) || !std::isfinite(scores[1])) {
    state.SkipWithError("a score is not finite");
  }
  state.counters["values"] = static_cast<double>(at.order().size);
  state.SetItemsProcessed(state.iterations() * 2 * 64);
}

void objective(benchmark::State& state, const zoq::any_objective::list& which) {
  const zoq::any_objective o(which);
  zoq::example row{{1, 2, 3}, {{4, 5}, {6, 7}}, 1};
  if (!o.serves(zoq::row_kind::choice) && !o.serves(zoq::row_kind::preference)) {
    row.continuations.resize(1);
    row.answer = 0;
  }
  row.reference = {-1.0, -2.0};
  zoq::packing batch;
  o.pack(row, batch);
  const std::vector<double> scores(batch.reads.size(), -0.5);
  const std::vector<zoq::token_t> best(batch.reads.size(), 4);
  double sum = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(sum += o.loss(row, scores, best));
  }
  if (!std::isfinite(sum)) {
    state.SkipWithError("a loss is not finite");
  }
  state.SetItemsProcessed(state.iterations());
}

}  // namespace

int main(int argc, char** argv) {
  const zoq::any_estimator spsa{zoq::spsa{}};
  const zoq::any_optimizer sgd{zoq::sgd{}};
  for_each_policy<zoq::any_estimator::list>("estimator", [=](auto& state, const auto& one) {
    steps(state, zoq::any_estimator(one), sgd, zoq::gaussian{}, zoq::constant{});
  });
  for_each_policy<zoq::any_direction>("direction", [=](auto& state, const auto& one) {
    steps(state, spsa, sgd, one, zoq::constant{});
  });
  for_each_policy<zoq::any_optimizer::list>("optimizer", [=](auto& state, const auto& one) {
    steps(state, spsa, zoq::any_optimizer(one), zoq::gaussian{}, zoq::constant{});
  });
  for_each_policy<zoq::any_schedule>("schedule", [=](auto& state, const auto& one) {
    steps(state, spsa, sgd, zoq::gaussian{}, one);
  });
  for_each_policy<zoq::any_objective::list>("objective", objective);
  const zoq::llama packed = zoq::bench::synthetic_model(2);
  const zoq::bench::owned_tensors copies = [&] {
    zoq::bench::owned_tensors out;
    for (const zoq::model_tensor& t : packed.tensors()) {
      out.add<zoq::f32_format>(t.name, t.role, t.weight.rows(), t.weight.columns(),
                               [&](index_t o, float* to) {
                                 t.weight.visit([&](const auto& w) { decode_row(w, o, to); });
                               });
    }
    return out;
  }();
  const zoq::llama floats(packed.config(), copies.tensors, nullptr);
  for_each_policy<zoq::any_view>(
      "view", [&](auto& state, const auto& one) { view(state, one, packed, floats); });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
