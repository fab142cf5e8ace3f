// What the benchmark programs share: options of the command line, and times that are compared fairly.
//
//     zoq::bench::arguments given("step_bench", argc, argv, {{"--rows", "16"}, {"--model", ""}});
//     zoq::index_t rows = given.number("--rows");
//     zoq::bench::paired p = zoq::bench::compare(5, [&] { plain(); }, [&] { faster(); });
//     p.ratio();    // the median of the pairs' own ratios: a slow minute of the machine hits both
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>
#include <zoq/core/config.hpp>
#include <zoq/core/error.hpp>

namespace zoq::bench {

using clock = std::chrono::steady_clock;

/// Seconds that f() takes.
template <class F>
double seconds_of(F&& f) {
  const auto start = clock::now();
  f();
  return std::chrono::duration<double>(clock::now() - start).count();
}

/// The middle one (of an even number, the upper of the two in the middle); 0 of none.
inline double median(std::vector<double> x) {
  if (x.empty()) {
    return 0;
  }
  const auto middle = x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2);
  std::nth_element(x.begin(), middle, x.end());
  return *middle;
}

/// Seconds of two things that were timed in turn.
struct paired {
  std::vector<double> first, second;

  void add(double one, double other) {
    first.push_back(one);
    second.push_back(other);
  }
  /// How many times as long the first takes: the median of the pairs' ratios.
  [[nodiscard]] double ratio() const {
    std::vector<double> out;
    for (std::size_t i = 0; i < first.size(); ++i) {
      out.push_back(first[i] / second[i]);
    }
    return median(std::move(out));
  }
};

/// Runs both once untimed, then `repeats` times in turn.
template <class First, class Second>
paired compare(index_t repeats, First&& first, Second&& second) {
  paired out;
  first();
  second();
  for (index_t i = 0; i < repeats; ++i) {
    const double one = seconds_of(first);
    out.add(one, seconds_of(second));
  }
  return out;
}

/// Options `--name value`. Those of Google Benchmark (`--benchmark_...`) are left in argc and argv.
class arguments {
 public:
  /// `known`: every option with its value when it is not given. Prints the options and ends the
  /// program on --help; throws on an option that is not known or has no value.
  arguments(std::string_view program, int& argc, char** argv,
            std::map<std::string, std::string> known)
      : values_(std::move(known)) {
    int kept = 1;
    for (int i = 1; i < argc; ++i) {
      const std::string name = argv[i];
      if (name.starts_with("--benchmark_") || name.starts_with("--v=")) {
        argv[kept++] = argv[i];
        continue;
      }
      if (name == "--help") {
        print_usage(program);
        std::exit(0);
      }
      require(values_.contains(name), "unknown option ", name, "; --help lists them");
      require(i + 1 < argc, name, " has no value");
      values_[name] = argv[++i];
    }
    argc = kept;
  }

  /// Whether the program knows this option.
  [[nodiscard]] bool has(const std::string& name) const { return values_.contains(name); }
  [[nodiscard]] const std::string& text(const std::string& name) const { return values_.at(name); }
  /// A whole number of at least `least`. Throws, naming the option, on anything else.
  [[nodiscard]] index_t number(const std::string& name, index_t least = 0) const {
    char* end = nullptr;
    const index_t value = std::strtoll(text(name).c_str(), &end, 10);
    require(end != text(name).c_str() && *end == '\0' && value >= least, name, " is \"", text(name),
            "\", wanted a whole number of at least ", least);
    return value;
  }
  [[nodiscard]] double real(const std::string& name) const {
    char* end = nullptr;
    const double value = std::strtod(text(name).c_str(), &end);
    require(end != text(name).c_str() && *end == '\0', name, " is \"", text(name),
            "\", wanted a number");
    return value;
  }

 private:
  void print_usage(std::string_view program) const {
    std::printf("%.*s [--benchmark_...]\n", static_cast<int>(program.size()), program.data());
    for (const auto& [name, value] : values_) {
      std::printf("  %s VALUE   (%s)\n", name.c_str(), value.empty() ? "none" : value.c_str());
    }
  }

  std::map<std::string, std::string> values_;
};

/// The body of main: f(argc, argv) registers the benchmarks, which then run. Counters stand in
/// columns unless the command line says otherwise. An error is printed and gives 1.
template <class Register>
int run_benchmarks(const char* program, int argc, char** argv, Register&& f) {
  try {
    std::vector<char*> all = {argv[0]};
    std::string tabular = "--benchmark_counters_tabular=true";
    all.push_back(tabular.data());
    all.insert(all.end(), argv + 1, argv + argc);
    int count = static_cast<int>(all.size());
    f(count, all.data());
    benchmark::Initialize(&count, all.data());
    if (benchmark::ReportUnrecognizedArguments(count, all.data())) {
      return 2;
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", program, e.what());
    return 1;
  }
}

}  // namespace zoq::bench
