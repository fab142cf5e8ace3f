// A whole zeroth-order step on a model: its parts, what it costs beside plain evaluation, and how it
// grows.
//
//     step_bench --model model.gguf [--data train.jsonl] [--rows 16] [--tokens 24] [--threads 2]
//                [--compute f32|bf16|...] [--kernels SET] [--density 0.001] [--probes 1] [--steps 9]
//                [--study step,threads,tokens,probes,density,latency|all]
//
// Rows: the first --rows of --data, or drawn ones of --tokens tokens; two options each. A step takes
// all of them. Every figure is the median of --steps steps; what is compared is timed in turn, and a
// ratio is the median of the pairs' ratios. Studies:
//
//     step      one step by parts
//     threads   the same on one thread and on all: `gain` is how many times as fast
//     tokens, probes, density   `step` with rows of 8 to 128 tokens; 1, 2, 4 probes of two branches;
//               0.01 % to 10 % of the weights
//     latency   the step against full tuning in f32 (full_zo.hpp), 1, 4 and 16 rows; the noise for all
//               weights is --noise rademacher, the cheapest to make, in favour of full tuning
//
// Columns of the first: `over_plain` is the time of a step over that of evaluating the same rows, once
// for each branch, without the view; `forward_%`, `perturb_%`, `update_%` the shares of the step (update:
// the estimate, the update, and packing the rows; perturb and update together are to be below 2 %).
// The losses of a step at epsilon 0 are those of plain evaluation, to the bit, before anything is
// timed.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "model/full_zo.hpp"
#include "model/setup.hpp"
#include "model/tuned.hpp"

namespace {

using zoq::index_t;
using zoq::bench::median;

struct session {
  zoq::llama model;
  zoq::bench::arguments given;
  zoq::cpu_options how;
  index_t steps;
};

/// What a benchmark differs in; the rest is of the command line.
struct variant {
  index_t rows = 16;
  index_t tokens = 24;  // of drawn rows
  int probes = 1;
  double density = 0.001;
  bool drawn = false;  // whatever --data says
};

std::vector<zoq::example> rows_of(const session& s, const variant& v) {
  return v.drawn ? zoq::bench::drawn_rows(v.rows, v.tokens, s.model.config().vocabulary)
                 : zoq::bench::rows_of(s.given, s.model, v.rows, v.tokens);
}

/// The rows so many times: what plain evaluation takes to forward as many tokens as so many branches.
/// (Branches that are all the base would be computed once.)
std::vector<const zoq::example*> repeated(const std::vector<const zoq::example*>& rows,
                                          index_t times) {
  std::vector<const zoq::example*> out;
  for (index_t i = 0; i < times; ++i) {
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

double plain_loss(zoq::llama_forward<zoq::cpu>& pass,
                  const std::vector<const zoq::example*>& rows) {
  return zoq::evaluate(pass, {}, zoq::option_likelihood{}, rows).branch[0].mean();
}

/// Whether every branch of a view that stands at zero has the loss of the base.
bool starts_at_the_base(const session& s, const zoq::cpu& exec, const zoq::mask& places,
                        const std::vector<const zoq::example*>& rows) {
  auto view = zoq::sparse_view(exec, s.model.tensors(), places);
  const zoq::query at_zero[2] = {{.seed = 1, .scale = 0}, {.seed = 2, .scale = 0}};
  view.move_to(exec, zoq::gaussian{}, at_zero);
  zoq::llama_forward<zoq::cpu> pass(exec, s.model);
  const auto with = zoq::evaluate(pass, view.branches(), zoq::option_likelihood{}, rows);
  const double base = plain_loss(pass, rows);
  return with.branch[0].mean() == base && with.branch[1].mean() == base;
}

void step(benchmark::State& state, const session& s, const variant& v) {
  const zoq::cpu exec(s.how);
  const zoq::mask places = zoq::bench::random_mask(s.model, v.density);
  zoq::bench::tuned run(exec, s.model, places, rows_of(s, v), {.probes = v.probes});
  const auto rows = zoq::bench::all_of(run.rows());
  if (!starts_at_the_base(s, exec, places, rows)) {
    state.SkipWithError("a view at zero does not give the losses of the base");
    return;
  }
  zoq::llama_forward<zoq::cpu> pass(exec, s.model);
  const auto as_many = repeated(rows, 2 * v.probes);
  plain_loss(pass, as_many);
  zoq::bench::paired against_plain;
  std::vector<double> forward, perturb, rest;
  const index_t before = run.cost().tokens;
  for (auto _ : state) {
    const zoq::bench::step_times t = run.step();
    state.SetIterationTime(t.all);
    forward.push_back(100 * t.forward / t.all);
    perturb.push_back(100 * t.perturb / t.all);
    rest.push_back(100 * t.rest() / t.all);
    against_plain.add(t.all, zoq::bench::seconds_of([&] { plain_loss(pass, as_many); }));
  }
  const double tokens =
      static_cast<double>(run.cost().tokens - before) / static_cast<double>(state.iterations());
  state.counters["tokens"] = tokens;
  state.counters["tokens/s"] = tokens / median(against_plain.first);
  state.counters["forward_%"] = median(forward);
  state.counters["perturb_%"] = median(perturb);
  state.counters["update_%"] = median(rest);
  state.counters["over_plain"] = against_plain.ratio();
}

void threads(benchmark::State& state, const session& s, const variant& v) {
  zoq::cpu_options one = s.how;
  one.threads = 1;
  const zoq::cpu alone(one), together(s.how);
  const zoq::mask places = zoq::bench::random_mask(s.model, v.density);
  zoq::bench::tuned slow(alone, s.model, places, rows_of(s, v), {.probes = v.probes});
  zoq::bench::tuned fast(together, s.model, places, rows_of(s, v), {.probes = v.probes});
  zoq::bench::paired both;
  for (auto _ : state) {
    const double seconds = slow.step().all;
    both.add(seconds, fast.step().all);
    state.SetIterationTime(both.second.back());
    if (slow.losses()[0].loss != fast.losses()[0].loss) {
      state.SkipWithError("the losses depend on the number of threads");
      return;
    }
  }
  state.counters["one_ms"] = 1e3 * median(both.first);
  state.counters["all_ms"] = 1e3 * median(both.second);
  state.counters["threads"] = together.threads();
  state.counters["gain"] = both.ratio();
}

void latency(benchmark::State& state, const session& s, const variant& v) {
  const zoq::any_direction noise = zoq::direction_named(s.given.text("--noise"));
  zoq::cpu_options floats = s.how;
  floats.products = zoq::compute::f32;
  const zoq::cpu exec(s.how), full_exec(floats);
  zoq::bench::tuned sparse(exec, s.model, zoq::bench::random_mask(s.model, v.density),
                           rows_of(s, v));
  zoq::bench::full_zo full(full_exec, s.model);
  zoq::llama_forward<zoq::cpu> base(full_exec, s.model);
  const auto rows = zoq::bench::all_of(sparse.rows());
  const double wanted = plain_loss(base, rows);
  if (!(std::fabs(full.loss(sparse.rows()) - wanted) <= 1e-4 * wanted)) {
    state.SkipWithError("the model in f32 has another loss than the packed one");
    return;
  }
  full.step(sparse.rows(), noise);  // pages
  std::vector<double> own, passes, forward;
  zoq::bench::paired both;
  for (auto _ : state) {
    const zoq::bench::step_times t = sparse.step();
    state.SetIterationTime(t.all);
    own.push_back(t.perturb + t.rest());
    const zoq::bench::full_times f = full.step(sparse.rows(), noise);
    both.add(f.all(), t.all);
    passes.push_back(f.passes);
    forward.push_back(f.forward);
  }
  state.counters["sparse_ms"] = 1e3 * median(both.second);
  state.counters["sparse_own_ms"] = 1e3 * median(own);
  state.counters["full_ms"] = 1e3 * median(both.first);
  state.counters["full_forward_ms"] = 1e3 * median(forward);
  state.counters["full_passes_ms"] = 1e3 * median(passes);
  state.counters["gain"] = both.ratio();
}

template <class Body>
void add(const session& s, const std::string& name, Body&& body) {
  benchmark::RegisterBenchmark(name.c_str(), std::forward<Body>(body))
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(s.steps);
}

void register_all(const session& s) {
  const variant given{.rows = s.given.number("--rows", 1),
                      .tokens = s.given.number("--tokens", 1),
                      .probes = static_cast<int>(s.given.number("--probes", 1)),
                      .density = s.given.real("--density")};
  const auto add_step = [&s](const std::string& name, const variant& v) {
    add(s, name, [&s, v](benchmark::State& b) { step(b, s, v); });
  };
  const std::string policy(zoq::name_of(s.how.products));
  std::istringstream studies(s.given.text("--study"));
  for (std::string study; std::getline(studies, study, ',');) {
    const bool all = study == "all";
    bool known = all;
    const auto wanted = [&](const char* name) {
      known = known || study == name;
      return all || study == name;
    };
    if (wanted("step")) {
      add_step("step/" + policy, given);
    }
    if (wanted("threads")) {
      add(s, "threads/" + policy, [&s, given](benchmark::State& b) { threads(b, s, given); });
    }
    if (wanted("tokens")) {
      for (const index_t tokens : {8, 16, 32, 64, 128}) {
        variant v = given;
        v.tokens = tokens;
        v.drawn = true;
        add_step("tokens:" + std::to_string(tokens) + "/" + policy, v);
      }
    }
    if (wanted("probes")) {
      for (const int probes : {1, 2, 4}) {
        variant v = given;
        v.probes = probes;
        add_step("probes:" + std::to_string(probes) + "/" + policy, v);
      }
    }
    if (wanted("density")) {
      for (const char* percent : {"0.01", "0.1", "1", "10"}) {
        variant v = given;
        v.density = std::atof(percent) / 100;
        add_step("density:" + std::string(percent) + "%/" + policy, v);
      }
    }
    if (wanted("latency")) {
      for (const index_t rows : {1, 4, 16}) {
        variant v = given;
        v.rows = rows;
        add(s, "latency/rows:" + std::to_string(rows) + "/" + policy,
            [&s, v](benchmark::State& b) { latency(b, s, v); });
      }
    }
    zoq::require(known, "--study: unknown study \"", study,
                 "\": step, threads, tokens, probes, density, latency or all");
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<session> s;
  return zoq::bench::run_benchmarks("step_bench", argc, argv, [&](int& count, char** all) {
    const zoq::bench::arguments given("step_bench", count, all,
                                      zoq::bench::model_options({{"--data", ""},
                                                                 {"--compute", "bf16"},
                                                                 {"--rows", "16"},
                                                                 {"--tokens", "24"},
                                                                 {"--probes", "1"},
                                                                 {"--density", "0.001"},
                                                                 {"--steps", "9"},
                                                                 {"--noise", "rademacher"},
                                                                 {"--study", "step"}}));
    s.emplace(session{zoq::bench::model_of(given), given, zoq::bench::cpu_of(given),
                      given.number("--steps", 1)});
    benchmark::AddCustomContext("model", zoq::bench::about(given, s->model));
    register_all(*s);
  });
}
