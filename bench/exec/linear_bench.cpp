// The linear layer with decoding, one core, as a share of the same core's own peak: each repetition
// measures both, one after the other, and `share` is the median of their ratios.
//
//     linear_bench --benchmark_filter=q4_1/bf16
//
// The result is checked against `serial` before it is timed. SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include <zoq/exec/cpu.hpp>
#include <zoq/exec/serial.hpp>
#include <zoq/random/gaussian.hpp>

#include "peak.hpp"

namespace {

using zoq::compute;
using zoq::index_t;

std::vector<float> noise(index_t n, zoq::seed_t seed) {
  std::vector<float> out(static_cast<std::size_t>(n));
  const auto field = zoq::gaussian::at(seed, {});
  for (index_t i = 0; i < n; ++i) {
    out[static_cast<std::size_t>(i)] = field.four(i / 4).at[i % 4];
  }
  return out;
}

template <zoq::quant_scheme S>
void linear(benchmark::State& state, compute products) {
  const index_t rows = state.range(0), columns = state.range(1), outputs = state.range(2);
  const std::vector<float> x = noise(rows * columns, 1);
  const std::vector<float> dense = noise(outputs * columns, 2);
  std::vector<typename S::block> blocks(
      static_cast<std::size_t>(outputs * columns / S::block_size));
  std::vector<typename S::row> row_data(static_cast<std::size_t>(outputs));
  for (index_t o = 0; o < outputs; ++o) {
    S::encode(dense.data() + o * columns, nullptr, columns, row_data[static_cast<std::size_t>(o)],
              blocks.data() + o * columns / S::block_size);
  }
  const zoq::any_packed w{zoq::packed_view<S>{
      blocks.data(), zoq::row_bytes_of<S> == 0 ? nullptr : row_data.data(), {outputs, columns}}};
  const zoq::cpu exec{{.threads = 1, .products = products}};
  std::vector<float> y(static_cast<std::size_t>(rows * outputs));
  const zoq::tensor_view<const float, 2> in{x.data(), {rows, columns}};
  const zoq::tensor_view<float, 2> out{y.data(), {rows, outputs}};

  exec.linear(in, w, out);
  std::vector<float> right(static_cast<std::size_t>(4 * outputs));
  zoq::serial::linear(in.rows(0, 4), w, {right.data(), {4, outputs}});
  double error = 0, size = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    error += std::pow(static_cast<double>(y[i] - right[i]), 2);
    size += std::pow(static_cast<double>(right[i]), 2);
  }
  const double relative = std::sqrt(error / size);
  if (relative > (products == compute::i8 ? 2e-2 : products == compute::bf16 ? 5e-3 : 1e-5)) {
    state.SkipWithError("the result is wrong");
    return;
  }

  const double operations = 2.0 * static_cast<double>(rows * columns * outputs);
  std::vector<double> share;
  double seconds = 0;
  for (auto _ : state) {
    const double top = zoq::bench::peak(exec.kernels(), products);
    const double start = zoq::bench::thread_seconds();
    exec.linear(in, w, out);
    const double spent = zoq::bench::thread_seconds() - start;
    state.SetIterationTime(spent);
    seconds += spent;
    share.push_back(top > 0 ? operations / spent / top : 0);
  }
  std::nth_element(share.begin(), share.begin() + static_cast<long>(share.size() / 2), share.end());
  state.counters["GFLOP/s"] = operations * static_cast<double>(state.iterations()) / seconds / 1e9;
  state.counters["share"] = share[share.size() / 2];
  state.counters["rms_error"] = relative;
}

void register_all() {
  zoq::formats::for_each([]<class S>(S) {
    for (const compute products : zoq::all_computes) {
      const std::string name = std::string(S::name) + "/" + std::string(zoq::name_of(products));
      auto* b = benchmark::RegisterBenchmark(
          name.c_str(), [products](benchmark::State& s) { linear<S>(s, products); });
      const index_t narrow = 576 % S::block_size == 0 ? 576 : 512;
      for (const index_t rows : {64, 128, 512, 1024}) {
        b->Args({rows, narrow, 1536})->Args({rows, 1536, narrow});
      }
      b->UseManualTime()->Unit(benchmark::kMicrosecond)->MinTime(0.2);
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
