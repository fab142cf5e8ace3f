// The forward pass of a model: tokens a second over batch and length, for every compute policy and
// instruction set.
//
//     forward_bench --model model.gguf [--threads 2] [--compute bf16] [--kernels avx2]
//                   [--most 2048] [--repeats 5] [--benchmark_filter=bf16.*16x64]
//
// forward/POLICY/SET/ROWSxLENGTH: so many rows of so many drawn tokens, one answer read from each; in
// passes of at most 1,024 stacked tokens, as the trainer makes them. Sizes beyond --most tokens are
// left out, and sets that are not the machine's best have one size. Counters, medians over the
// repeats: tokens a second; GFLOP/s of the weights that were multiplied (two operations each; the
// last layer and the head where an answer is read, attention's own products not counted); and their
// share of the peak of as many threads, measured right before. The loss of a short row is compared
// with `serial` before anything is timed.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exec/peak.hpp"
#include "exec/sets.hpp"
#include "model/setup.hpp"

namespace {

using zoq::compute;
using zoq::index_t;
using zoq::instruction_set;

struct session {
  zoq::llama model;
  int threads;
  index_t repeats;
  zoq::example short_row;
  double right_loss;  // of the short row, by `serial`
};

/// Rows of `tokens` drawn tokens and one more that is predicted from the last.
std::vector<zoq::example> rows_of_one_answer(index_t rows, index_t tokens, index_t vocabulary) {
  std::vector<zoq::example> out;
  for (index_t r = 0; r < rows; ++r) {
    out.push_back(
        {zoq::bench::some_tokens(tokens, static_cast<zoq::seed_t>(r), vocabulary), {{1}}});
  }
  return out;
}

template <zoq::executor X>
double loss_of(const X& exec, const zoq::llama& model, const zoq::example& row) {
  zoq::llama_forward<X> pass(exec, model);
  const zoq::example* one[] = {&row};
  return zoq::evaluate(pass, {}, zoq::next_token{}, one).branch[0].mean();
}

/// How far the loss of a row may be from `serial`'s: rounding of f32, of 8 bits of a bf16's fraction,
/// or of 8-bit inputs. Wrong code is off by whole units.
double tolerance(compute products) {
  const std::string_view name = zoq::name_of(products);
  return name == "f32" ? 1e-3 : name == "bf16" ? 0.1 : 0.5;
}

/// Operations of the linear layers and the head for `tokens` rows of which `reads` are read.
double multiplied(const zoq::llama& model, index_t tokens, index_t reads) {
  const zoq::llama_config& c = model.config();
  const index_t keys_and_values = 2 * c.hidden * c.kv_heads * c.head_size;
  const index_t layer = c.linear_weights() / c.layers;
  const index_t everywhere = (c.layers - 1) * layer + keys_and_values;
  const index_t where_read = layer - keys_and_values + c.vocabulary * c.hidden;
  return 2.0 * static_cast<double>(tokens * everywhere + reads * where_read);
}

void forward(benchmark::State& state, const session& s, instruction_set kernels, compute products,
             index_t rows, index_t length) {
  const zoq::cpu exec({.threads = s.threads, .kernels = kernels, .products = products});
  const double found = loss_of(exec, s.model, s.short_row);
  if (!(std::fabs(found - s.right_loss) <= tolerance(products))) {
    state.SkipWithError(
        ("the loss is " + std::to_string(found) + ", serial's is " + std::to_string(s.right_loss))
            .c_str());
    return;
  }
  const auto data = rows_of_one_answer(rows, length, s.model.config().vocabulary);
  const auto all = zoq::bench::all_of(data);
  zoq::llama_forward<zoq::cpu> pass(exec, s.model);
  zoq::evaluate(pass, {}, zoq::next_token{}, all);  // pages, workspaces
  const double operations = multiplied(s.model, rows * length, rows);
  std::vector<double> times, shares;
  for (auto _ : state) {
    const double top = zoq::bench::peak(kernels, products, exec.threads());
    const double seconds =
        zoq::bench::seconds_of([&] { zoq::evaluate(pass, {}, zoq::next_token{}, all); });
    state.SetIterationTime(seconds);
    times.push_back(seconds);
    shares.push_back(top > 0 ? operations / seconds / top : 0);
  }
  const double seconds = zoq::bench::median(times);
  state.counters["tokens/s"] = static_cast<double>(rows * length) / seconds;
  state.counters["GFLOP/s"] = operations / seconds / 1e9;
  state.counters["share"] = zoq::bench::median(shares);
}

void register_all(const zoq::bench::arguments& given, const session& s) {
  const std::string& set_wanted = given.text("--kernels");
  const std::string& wanted = given.text("--compute");
  const instruction_set best =
      set_wanted == "all" ? zoq::best_instruction_set() : zoq::instruction_set_named(set_wanted);
  const index_t most = given.number("--most", 1);
  for (const compute products : zoq::all_computes) {
    if (wanted != "all" && zoq::compute_named(wanted) != products) {
      continue;
    }
    for (const instruction_set kernels : zoq::bench::instruction_sets()) {
      for (const index_t rows : {1, 16, 64}) {
        for (const index_t length : {16, 64, 128, 512}) {
          const bool everyday = rows == 16 && length == 16;
          if (kernels != best && (set_wanted != "all" || !everyday)) {
            continue;
          }
          if (rows * length > most) {
            continue;
          }
          const std::string name = "forward/" + std::string(zoq::name_of(products)) + "/" +
                                   std::string(zoq::name_of(kernels)) + "/" + std::to_string(rows) +
                                   "x" + std::to_string(length);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [&s, kernels, products, rows, length](benchmark::State& b) {
                                         forward(b, s, kernels, products, rows, length);
                                       })
              ->UseManualTime()
              ->Unit(benchmark::kMillisecond)
              ->Iterations(s.repeats);
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<session> s;
  return zoq::bench::run_benchmarks("forward_bench", argc, argv, [&](int& count, char** all) {
    const zoq::bench::arguments given(
        "forward_bench", count, all,
        zoq::bench::model_options(
            {{"--compute", "all"}, {"--kernels", "all"}, {"--most", "2048"}, {"--repeats", "5"}}));
    const zoq::llama model = zoq::bench::model_of(given);
    benchmark::AddCustomContext("model", zoq::bench::about(given, model));
    const zoq::example row = rows_of_one_answer(1, 6, model.config().vocabulary)[0];
    const zoq::serial exact;
    s.emplace(session{model, static_cast<int>(given.number("--threads")),
                      given.number("--repeats", 1), row, loss_of(exact, model, row)});
    register_all(given, *s);
  });
}
