// Pairs of branches, of which a policy rounds the first and the difference: see
// tensor/branch_stack.hpp.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "exec/executors.hpp"
#include "exec/rounding_bounds.hpp"
#include "exec/stacked_case.hpp"
#include "exec/whole_case.hpp"

using namespace zoq::test;
using zoq::cpu;
using zoq::index_t;

#define ZOQ_TEST_SCHEMES \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1

namespace {

// Formats of one value a block take any number of columns.
template <class S>
constexpr index_t odd = S::block_size == 1 ? 5 : 0;

}  // namespace

TEST_CASE_TEMPLATE("pairs: whole numbers are multiplied exactly", S, ZOQ_TEST_SCHEMES) {
  // Tiles and runs of slots that are not full, and rows enough to be split among threads.
  constexpr index_t shapes[][4] = {{2, 1, 3, 32},    {6, 1, 70, 96},  {4, 3, 50, 96},
                                   {2, 16, 129, 64}, {2, 101, 9, 32}, {6, 47, 70, 64},
                                   {2, 3, 5, 7840}};
  for (const auto& shape : shapes) {
    const index_t branches = shape[0], rows = shape[1], outputs = shape[2];
    const index_t columns = shape[3] + odd<S>;
    CAPTURE(branches);
    CAPTURE(rows);
    CAPTURE(outputs);
    CAPTURE(columns);
    const auto w = whole_weights<S>(outputs, columns, 1);
    const auto x = whole_pairs(branches, rows, columns, 2);
    const auto wanted = whole_product(x, w.decoded(), branches * rows, outputs, columns);
    for_each_policy([&](const zoq::cpu_options& options) {
      for (const int threads : {1, 3}) {
        const cpu exec{with_threads(options, threads)};
        CHECK(stacked_product(exec, {branches, true}, x, w.any()) == wanted);
      }
    });
  }
}

TEST_CASE_TEMPLATE("pairs: the first of two has the bits of a branch that is alone", S,
                   ZOQ_TEST_SCHEMES) {
  constexpr index_t branches = 4, outputs = 70;
  const index_t columns = 160 + odd<S>;
  const packed_matrix<S> w(outputs, columns, 1);
  for (const index_t rows : {1, 7, 53}) {
    const auto x = near_pairs(branches, rows, columns, 1e-3, 2);
    for_each_policy([&](const zoq::cpu_options& options) {
      const cpu exec{options};
      const auto paired = stacked_product(exec, {branches, true}, x, w.any());
      for (const index_t b : {0, 2}) {
        CHECK(same_bits(branches_of(paired, branches, b, 1),
                        stacked_product(exec, {}, branches_of(x, branches, b, 1), w.any())));
      }
      // What is not rounded knows no pairs.
      const auto plain = stacked_product(exec, {branches}, x, w.any());
      CHECK(same_bits(paired, plain) == (options.products == zoq::compute::f32));
    });
  }
}

TEST_CASE_TEMPLATE("pairs: two have the same bits whatever is stacked beside them, on any threads",
                   S, ZOQ_TEST_SCHEMES) {
  constexpr index_t most = 6, outputs = 70;
  const index_t columns = 160 + odd<S>;
  const packed_matrix<S> w(outputs, columns, 1);
  for (const index_t rows : {1, 7, 53}) {
    const auto x = near_pairs(most, rows, columns, 1e-3, 2);
    for_each_policy([&](const zoq::cpu_options& options) {
      const cpu one{options};
      const auto all = stacked_product(one, {most, true}, x, w.any());
      for (index_t count = 2; count <= 4; count += 2) {
        for (index_t first = 0; first + count <= most; first += 2) {
          CHECK(same_bits(
              branches_of(all, most, first, count),
              stacked_product(one, {count, true}, branches_of(x, most, first, count), w.any())));
        }
      }
      for (const int threads : {2, 3, 5}) {
        const cpu more{with_threads(options, threads)};
        CHECK(same_bits(stacked_product(more, {most, true}, x, w.any()), all));
      }
    });
  }
}

TEST_CASE_TEMPLATE("pairs: a difference is as accurate as a product of differences", S,
                   ZOQ_TEST_SCHEMES) {
  constexpr index_t branches = 4, rows = 5, outputs = 70;
  const index_t columns = 320 + odd<S>;
  const packed_matrix<S> w(outputs, columns, 1);
  const auto x = near_pairs(branches, rows, columns, 1e-4, 2);
  const auto size = static_cast<std::size_t>(rows * columns);
  std::vector<float> step;    // x2 - x1, [branches / 2 * rows, columns]
  std::vector<double> exact;  // the same, not rounded
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i / size % 2 == 1) {
      step.push_back(x[i] - x[i - size]);
      exact.push_back(static_cast<double>(x[i]) - static_cast<double>(x[i - size]));
    }
  }
  const auto wanted = exact_product(w, exact, branches / 2 * rows);
  const auto differences = [&](const std::vector<float>& y, std::vector<double>& roundings) {
    const auto each = static_cast<std::size_t>(rows * outputs);
    std::vector<double> out;
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (i / each % 2 == 1) {
        out.push_back(static_cast<double>(y[i]) - static_cast<double>(y[i - each]));
        roundings.push_back(0x1p-24 * std::fabs(static_cast<double>(y[i])));
      }
    }
    return out;
  };
  for_each_policy([&](const zoq::cpu_options& options) {
    // The second output is the first and the difference, rounded to float once.
    const auto bound = rounding_bounds(options.products, w, step, branches / 2 * rows);
    const auto too_far = [&](bool pairs) {
      std::vector<double> roundings;
      const auto found =
          differences(stacked_product(cpu{options}, {branches, pairs}, x, w.any()), roundings);
      REQUIRE(found.size() == wanted.size());
      std::size_t count = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        count += !(std::fabs(found[i] - wanted[i]) <= bound[i] + roundings[i]);
      }
      return count;
    };
    if (options.products != zoq::compute::f32) {
      CHECK(too_far(true) == 0);
      CHECK(too_far(false) > wanted.size() / 2);  // why there are pairs
    }
  });
}

TEST_CASE_TEMPLATE("pairs: the second of two is as near to its product as two roundings allow", S,
                   ZOQ_TEST_SCHEMES) {
  constexpr index_t branches = 2, rows = 6, outputs = 70;
  const index_t columns = 96 + odd<S>;
  const packed_matrix<S> w(outputs, columns, 1);
  for (const double distance : {1e-6, 1.0, 100.0}) {
    CAPTURE(distance);
    const auto x = near_pairs(branches, rows, columns, distance, 2);
    std::vector<float> second = branches_of(x, branches, 1, 1), step = second;
    for (std::size_t i = 0; i < step.size(); ++i) {
      step[i] -= x[i];
    }
    const auto exact = exact_product(w, {second.begin(), second.end()}, rows);
    for_each_policy([&](const zoq::cpu_options& options) {
      auto allowed = rounding_bounds(options.products, w, branches_of(x, branches, 0, 1), rows);
      const auto of_step = rounding_bounds(options.products, w, step, rows);
      const auto of_sum = rounding_bounds(zoq::compute::f32, w, second, rows);
      for (std::size_t i = 0; i < allowed.size(); ++i) {
        allowed[i] += of_step[i] + of_sum[i] + 0x1p-23 * std::fabs(exact[i]);
      }
      const auto y = stacked_product(cpu{options}, {branches, true}, x, w.any());
      CHECK(errs_within(branches_of(y, branches, 1, 1), exact, allowed));
    });
  }
}

TEST_CASE("pairs: two equal branches have equal bits") {
  constexpr index_t branches = 4, rows = 19, outputs = 70, columns = 96;
  const packed_matrix<zoq::q4_1> w(outputs, columns, 1);
  const auto x = near_pairs(branches, rows, columns, 0, 2);
  for_each_policy([&](const zoq::cpu_options& options) {
    const auto y = stacked_product(cpu{options}, {branches, true}, x, w.any());
    for (const index_t b : {0, 2}) {
      CHECK(same_bits(branches_of(y, branches, b, 1), branches_of(y, branches, b + 1, 1)));
    }
  });
}

TEST_CASE("pairs: inputs that are not finite stay in their row of the two branches") {
  constexpr index_t branches = 4, rows = 5, outputs = 70, columns = 96;
  const packed_matrix<zoq::q4_0> w(outputs, columns, 1);
  auto x = near_pairs(branches, rows, columns, 1e-3, 2);
  const auto put = [&](index_t branch, index_t row, float value) {
    x[static_cast<std::size_t>((branch * rows + row) * columns + 70)] = value;
  };
  put(0, 1, std::numeric_limits<float>::quiet_NaN());
  put(2, 2, std::numeric_limits<float>::infinity());
  put(3, 3, -std::numeric_limits<float>::infinity());
  put(2, 4, std::numeric_limits<float>::infinity());
  put(3, 4, std::numeric_limits<float>::infinity());
  for_each_policy([&](const zoq::cpu_options& options) {
    const auto y = stacked_product(cpu{options}, {branches, true}, x, w.any());
    REQUIRE(y.size() == branches * rows * outputs);
    // What the first of two has, its second has too, unless nothing is rounded.
    const bool both = options.products != zoq::compute::f32;
    for (index_t b = 0; b < branches; ++b) {
      for (index_t r = 0; r < rows; ++r) {
        const bool bad = (b == 0 && r == 1) || (b == 1 && r == 1 && both) || (b == 2 && r == 2) ||
                         (b == 3 && r == 2 && both) || (b == 3 && r == 3) || (b >= 2 && r == 4);
        const auto first = y.begin() + (b * rows + r) * outputs;
        const auto finite =
            std::count_if(first, first + outputs, [](float v) { return std::isfinite(v); });
        CHECK(finite == (bad ? 0 : outputs));
      }
    }
  });
}
