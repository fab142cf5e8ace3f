// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/cpu.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "exec/executors.hpp"
#include "exec/linear_case.hpp"
#include "exec/rounding_bounds.hpp"
#include "exec/whole_case.hpp"
#include "io/temporary_folder.hpp"
#include "zoq/core/half.hpp"
#include "zoq/core/math.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/rademacher.hpp"

using namespace zoq::test;
using zoq::cpu;
using zoq::index_t;
using zoq::instruction_set;

#define ZOQ_TEST_SCHEMES \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1

namespace {

// Rows, outputs, columns: single rows and outputs; less, more and exactly one panel and tile; a
// depth above a panel's, forward and backward, one that is no multiple of a block and fills several
// panels almost, and one of several panels under every policy; rows enough to be split among threads
// and into several runs.
constexpr index_t shapes[][3] = {{1, 1, 32},    {1, 33, 544},   {2, 64, 64},   {5, 70, 1088},
                                 {13, 129, 96}, {6, 550, 32},   {97, 3, 64},   {150, 40, 32},
                                 {530, 5, 32},  {12, 128, 512}, {3, 70, 1504}, {2, 65, 3040},
                                 {2, 7, 7840}};

// Formats of one value a block take any number of columns: odd ones.
template <class S>
linear_case<S> case_of(const index_t (&shape)[3]) {
  const index_t odd = S::block_size == 1 ? 5 : 0;
  return {shape[0], shape[1], shape[2] + odd, static_cast<zoq::seed_t>(shape[0] + shape[1])};
}

template <class Field>
struct write_field {
  Field z;
  float* to;
  void operator()(index_t block) const {
    const zoq::float4v v = z.four(block);
    std::copy_n(v.at, 4, to + 4 * block);
  }
};

struct write_exp {
  const float* x;
  float* y;
  void operator()(index_t i) const { y[i] = zoq::exp_f32(x[i]); }
};

struct square {
  const float* x;
  double operator()(index_t i) const {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
};

}  // namespace

TEST_CASE("cpu: one thread a core by default, any number on demand") {
  CHECK(cpu{}.threads() >= 1);
  CHECK(cpu{}.kernels() == zoq::best_instruction_set());
  CHECK(cpu{{.threads = 3}}.threads() == 3);
  CHECK(message_of([] { cpu{{.threads = -1}}; }) == "cpu: -1 threads");
}

TEST_CASE("cpu: every index once, for every length") {
  for_each_cpu([](const cpu& exec) {
    for (const index_t n : {0, 1, 2, 7, 63, 1000, 20011}) {
      std::vector<int> times(static_cast<std::size_t>(n));
      exec.for_each(n, [&](index_t i) { ++times[static_cast<std::size_t>(i)]; });
      CHECK(std::count(times.begin(), times.end(), 1) == n);
    }
  });
}

TEST_CASE("cpu: sums have serial's bits") {
  const std::vector<float> x = uniform(20011, 1, -1, 1e4);
  for_each_cpu([&](const cpu& exec) {
    for (const index_t n : {0, 1, 1024, 1025, 9000, 20011}) {
      CHECK(exec.sum(n, square{x.data()}) == zoq::serial{}.sum(n, square{x.data()}));
    }
  });
}

TEST_CASE_TEMPLATE("cpu: directions have serial's bits", Z, zoq::gaussian, zoq::rademacher) {
  // On one machine: the same C library computes Gaussian's logarithm, sine and cosine.
  const auto field = Z::at(11, {});
  using writer = write_field<decltype(Z::at(11, {}))>;
  std::vector<float> wanted(4 * 2500);
  zoq::serial{}.for_each(2500, writer{field, wanted.data()});
  for_each_cpu([&](const cpu& exec) {
    std::vector<float> found(wanted.size());
    exec.for_each(2500, writer{field, found.data()});
    CHECK(same_bits(found, wanted));
  });
}

TEST_CASE("cpu: exp_f32 keeps its bound in vector code, whatever the compiler fuses") {
  std::vector<float> x = uniform(40000, 1, -87, 88);
  std::vector<float> y(x.size());
  for_each_cpu([&](const cpu& exec) {
    exec.for_each(static_cast<index_t>(x.size()), write_exp{x.data(), y.data()});
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double wanted = std::exp(static_cast<double>(x[i]));
      worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - wanted) / wanted);
    }
    CHECK(worst <= 0x1p-22);
  });
}

TEST_CASE_TEMPLATE("cpu: the products of a linear layer agree with serial", S, ZOQ_TEST_SCHEMES) {
  for (const auto& shape : shapes) {
    const linear_case<S> test = case_of<S>(shape);
    const index_t rows = test.rows, outputs = test.outputs, columns = test.columns;
    CAPTURE(rows);
    CAPTURE(outputs);
    CAPTURE(columns);
    const std::vector<float> w = test.w.decoded();
    const auto weight = [&](index_t o, index_t c) {
      return w[static_cast<std::size_t>(o * columns + c)];
    };
    const auto x = [&](index_t r, index_t c) {
      return test.x[static_cast<std::size_t>(r * columns + c)];
    };
    const auto dy = [&](index_t r, index_t o) {
      return test.dy[static_cast<std::size_t>(r * outputs + o)];
    };
    const zoq::serial oracle;
    const auto forward = test.forward(oracle);
    const auto to_input = test.to_input(oracle);
    const auto to_weight = test.to_weight(oracle);
    const auto forward_size =
        magnitudes(rows, columns, outputs, x, [&](index_t c, index_t o) { return weight(o, c); });
    const auto to_input_size = magnitudes(rows, outputs, columns, dy, weight);
    const auto to_weight_size = magnitudes(
        outputs, rows, columns, [&](index_t o, index_t r) { return dy(r, o); }, x);
    // A sum of n products in float, in any order, errs by at most (n + 1) 2^-24 of the sum of
    // magnitudes to first order; serial's one rounding and the second order make it n + 3.
    const auto bound = [](index_t depth) { return static_cast<double>(depth + 3) * 0x1p-24; };
    for_each_cpu([&](const cpu& exec) {
      CHECK(within(test.forward(exec), forward, forward_size, bound(columns)));
      CHECK(within(test.to_input(exec), to_input, to_input_size, bound(outputs)));
      CHECK(within(test.to_weight(exec), to_weight, to_weight_size, bound(rows)));
    });
  }
}

TEST_CASE_TEMPLATE("cpu: every policy is as near to the exact product as its rounding allows", S,
                   ZOQ_TEST_SCHEMES) {
  for (const auto& shape : shapes) {
    const linear_case<S> test = case_of<S>(shape);
    CAPTURE(test.rows);
    CAPTURE(test.outputs);
    CAPTURE(test.columns);
    const std::vector<double> exact =
        exact_product(test.w, {test.x.begin(), test.x.end()}, test.rows);
    for (const zoq::compute policy : zoq::all_computes) {
      const auto allowed = rounding_bounds(policy, test.w, test.x, test.rows);
      for_each_instruction_set([&](instruction_set set) {
        CAPTURE(zoq::name_of(set));
        CAPTURE(zoq::name_of(policy));
        const cpu exec{{.threads = 2, .kernels = set, .products = policy}};
        CHECK(errs_within(test.forward(exec), exact, allowed));
      });
    }
  }
}

TEST_CASE_TEMPLATE("cpu: every weight alone is off by no more than its own rounding", S,
                   ZOQ_TEST_SCHEMES) {
  // Inputs of one 127 each: 8 bits hold it exactly, and no sum hides a code that is off by one.
  constexpr index_t outputs = 70;
  for (const index_t blocks : {1, 5}) {
    const index_t columns = 32 * blocks + (S::block_size == 1 ? 5 : 0);
    linear_case<S> test(columns, outputs, columns, 5);
    std::fill(test.x.begin(), test.x.end(), 0.0f);
    for (index_t c = 0; c < columns; ++c) {
      test.x[static_cast<std::size_t>(c * columns + c)] = 127;
    }
    const std::vector<float> w = test.w.decoded();
    const auto error = [&](index_t o, index_t c) {
      return weight_error(test.w, w.data() + o * columns, o, c / 64 * 64);
    };
    for_each_policy([&](const zoq::cpu_options& options) {
      const auto y = test.forward(cpu{options});
      REQUIRE(static_cast<index_t>(y.size()) == columns * outputs);
      index_t wrong = 0;
      for (index_t c = 0; c < columns; ++c) {
        for (index_t o = 0; o < outputs; ++o) {
          const auto wanted = static_cast<double>(w[static_cast<std::size_t>(o * columns + c)]);
          const auto found = static_cast<double>(y[static_cast<std::size_t>(c * outputs + o)]);
          const double off = options.products == zoq::compute::f32    ? 0x1p-24 * std::fabs(wanted)
                             : options.products == zoq::compute::bf16 ? 0x1p-8 * std::fabs(wanted)
                                                                      : error(o, c);
          wrong += !(std::fabs(found / 127 - wanted) <= 1.0001 * off);
        }
      }
      CHECK(wrong == 0);
    });
  }
}

TEST_CASE_TEMPLATE("cpu: every policy multiplies whole numbers exactly", S, ZOQ_TEST_SCHEMES) {
  for (const auto& shape : shapes) {
    linear_case<S> test = case_of<S>(shape);
    test.w = whole_weights<S>(test.outputs, test.columns, 1);
    test.x = whole_rows(test.rows, test.columns, 2);
    const auto wanted =
        whole_product(test.x, test.w.decoded(), test.rows, test.outputs, test.columns);
    CAPTURE(test.rows);
    CAPTURE(test.outputs);
    CAPTURE(test.columns);
    for_each_policy([&](const zoq::cpu_options& options) {
      CHECK(test.forward(cpu{with_threads(options, 3)}) == wanted);
    });
  }
}

TEST_CASE_TEMPLATE("cpu: any number of threads gives the same bits", S, ZOQ_TEST_SCHEMES) {
  for (const auto& shape : shapes) {
    const linear_case<S> test = case_of<S>(shape);
    for_each_policy([&](const zoq::cpu_options& options) {
      const cpu one{options};
      const auto forward = test.forward(one);
      for (const int threads : {2, 3, 5}) {
        CHECK(same_bits(test.forward(cpu{with_threads(options, threads)}), forward));
      }
    });
    for_each_instruction_set([&](instruction_set set) {
      const cpu one{{.threads = 1, .kernels = set}};
      const auto to_input = test.to_input(one);
      const auto to_weight = test.to_weight(one);
      for (const int threads : {2, 3, 5}) {
        const cpu more{{.threads = threads, .kernels = set}};
        CHECK(same_bits(test.to_input(more), to_input));
        CHECK(same_bits(test.to_weight(more), to_weight));
      }
    });
  }
}

TEST_CASE_TEMPLATE("cpu: a row's bits do not depend on the rows beside it", S, ZOQ_TEST_SCHEMES) {
  const linear_case<S> test(29, 70, 1056, 3);
  for_each_policy([&](const zoq::cpu_options& options) {
    const cpu exec{with_threads(options, 2)};
    const auto forward = test.forward(exec);
    const auto to_input = test.to_input(exec);
    for (const index_t count : {1, 2, 5, 14}) {
      for (index_t first = 0; first + count <= test.rows; first += 3) {
        const auto part = test.forward(exec, first, count);
        REQUIRE(static_cast<index_t>(part.size()) == count * test.outputs);
        CHECK(same_bits(part.data(), forward.data() + first * test.outputs, count * test.outputs));
        if (options.products == zoq::compute::f32) {
          const auto back = test.to_input(exec, first, count);
          REQUIRE(static_cast<index_t>(back.size()) == count * test.columns);
          CHECK(
              same_bits(back.data(), to_input.data() + first * test.columns, count * test.columns));
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("cpu: the reverse pass is float under every policy", S, ZOQ_TEST_SCHEMES) {
  const linear_case<S> test(11, 70, 96, 4);
  for_each_policy([&](const zoq::cpu_options& options) {
    const cpu exec{options}, floats{{.threads = 1, .kernels = options.kernels}};
    CHECK(same_bits(test.to_input(exec), test.to_input(floats)));
    CHECK(same_bits(test.to_weight(exec), test.to_weight(floats)));
  });
}

TEST_CASE_TEMPLATE("cpu: bf16 multiplies what is left of inputs and weights after one rounding", S,
                   ZOQ_TEST_SCHEMES) {
  const auto rounded = [](std::vector<float> x) {
    for (float& v : x) {
      v = zoq::to_float(zoq::to_bf16(v));
    }
    return x;
  };
  for (const auto& shape : shapes) {
    const linear_case<S> test = case_of<S>(shape);
    const index_t rows = test.rows, outputs = test.outputs, columns = test.columns;
    const std::vector<float> x = rounded(test.x);
    const std::vector<float> w = rounded(test.w.decoded());
    std::vector<float> wanted(static_cast<std::size_t>(rows * outputs));
    zoq::serial::linear(
        {x.data(), {rows, columns}},
        zoq::packed_as(zoq::f32_format::gguf_type, reinterpret_cast<const std::byte*>(w.data()),
                       outputs, columns, "w"),
        {wanted.data(), {rows, outputs}});
    const auto size = magnitudes(
        rows, columns, outputs,
        [&](index_t r, index_t c) { return x[static_cast<std::size_t>(r * columns + c)]; },
        [&](index_t c, index_t o) { return w[static_cast<std::size_t>(o * columns + c)]; });
    // Products of two bf16 are exact in float; the instruction that adds two of them at once may
    // round after each, so the bound is that of a float sum.
    const double bound = static_cast<double>(columns + 3) * 0x1p-24;
    for_each_instruction_set([&](instruction_set set) {
      const cpu one{{.threads = 1, .kernels = set, .products = zoq::compute::bf16}};
      const auto forward = test.forward(one);
      CHECK(within(forward, wanted, size, bound));
    });
  }
}

TEST_CASE("cpu: nothing to multiply") {
  const std::vector<float> none(1);
  for_each_cpu([&](const cpu& exec) {
    std::vector<float> y(6, 5.0f);
    const auto no_outputs = zoq::packed_as(0, nullptr, 0, 4, "w");
    exec.linear({none.data(), {0, 4}}, no_outputs, {y.data(), {0, 0}});
    CHECK(y[0] == 5.0f);
    // A sum of no terms is 0.
    exec.linear_to_weight({none.data(), {0, 2}}, {none.data(), {0, 3}}, {y.data(), {2, 3}});
    CHECK(std::count(y.begin(), y.end(), 0.0f) == 6);
  });
  const linear_case<zoq::q8_0> test(1, 70, 96, 1);
  for_each_policy([&](const zoq::cpu_options& options) {
    const cpu exec{options};
    CHECK(test.forward(exec, 0, 0).empty());
    std::vector<float> y(1, 5.0f);
    exec.linear({test.x.data(), {1, 96}},
                zoq::any_packed{zoq::packed_view<zoq::q8_0>{nullptr, nullptr, {0, 96}}},
                {y.data(), {1, 0}});
    CHECK(y[0] == 5.0f);
  });
}

TEST_CASE_TEMPLATE("cpu: inputs that are not finite stay in their row, and no sum hides them", S,
                   ZOQ_TEST_SCHEMES) {
  // 0 * infinity is NaN: a tile that computed with its neighbours' rows would spread it. Rounding to
  // integers would lose it.
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (const index_t columns : {64, 96, 160}) {
    linear_case<S> test(9, 70, columns, 1);
    const auto put = [&](index_t row, index_t column, float value) {
      test.x[static_cast<std::size_t>(row * columns + column)] = value;
    };
    put(1, 10, infinity);
    put(3, 0, nan);
    put(4, columns - 1, -nan);
    put(5, columns - 1, -infinity);
    put(6, 2, infinity);
    put(6, 3, nan);
    put(7, 40, infinity);
    put(7, 41, -infinity);
    for_each_policy([&](const zoq::cpu_options& options) {
      const auto y = test.forward(cpu{options});
      REQUIRE(y.size() == 9 * 70);
      index_t wrong = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        const std::size_t row = i / 70;
        wrong += std::isfinite(y[i]) != (row == 0 || row == 2 || row == 8);
      }
      CHECK(wrong == 0);
    });
  }
}

TEST_CASE_TEMPLATE("cpu: a weight that is not finite shows in its output, whatever the input", S,
                   ZOQ_TEST_SCHEMES) {
  constexpr index_t rows = 3, outputs = 70, columns = 96;
  linear_case<S> test(rows, outputs, columns, 1);
  std::fill_n(test.x.begin(), columns, 0.0f);
  const auto wild = wild_blocks<S>(static_cast<index_t>(test.w.blocks.size()), 2);
  for (std::size_t i = 0; i < wild.size(); i += 7) {
    test.w.blocks[i] = wild[i];
  }
  const std::vector<float> decoded = test.w.decoded();
  for_each_policy([&](const zoq::cpu_options& options) {
    const auto y = test.forward(cpu{options});
    REQUIRE(y.size() == rows * outputs);
    index_t hidden = 0, bad = 0;
    for (std::size_t o = 0; o < outputs; ++o) {
      const bool finite = std::all_of(decoded.begin() + static_cast<index_t>(o) * columns,
                                      decoded.begin() + static_cast<index_t>(o + 1) * columns,
                                      [](float v) { return std::isfinite(v); });
      for (std::size_t r = 0; r < rows; ++r) {
        bad += !finite;
        hidden += !finite && std::isfinite(y[r * outputs + o]);
      }
    }
    CHECK(bad > 0);
    CHECK(hidden == 0);
  });
}

TEST_CASE_TEMPLATE("cpu: tiny inputs give tiny outputs", S, ZOQ_TEST_SCHEMES) {
  // 127 over the largest of a block is beyond float: a scale must not become infinite.
  constexpr index_t rows = 4, outputs = 70, columns = 96;
  linear_case<S> test(rows, outputs, columns, 1);
  for (std::size_t i = 0; i < test.x.size(); ++i) {
    const float scale[rows] = {0.0f, 1e-37f, 1e-39f, 1e-45f};
    test.x[i] *= scale[i / columns];
    test.x[i] = i % 5 == 0 ? 0.0f : test.x[i];
  }
  for_each_policy([&](const zoq::cpu_options& options) {
    const auto y = test.forward(cpu{options});
    REQUIRE(y.size() == rows * outputs);
    CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::fabs(v) <= 1e-35f; }));
  });
}

TEST_CASE("cpu: executors can be moved, and used by many threads' worth of calls in turn") {
  cpu first{{.threads = 2}};
  const cpu exec = std::move(first);
  std::vector<int> times(1000);
  for (int call = 0; call < 200; ++call) {
    exec.for_each(1000, [&](index_t i) { ++times[static_cast<std::size_t>(i)]; });
  }
  CHECK(std::count(times.begin(), times.end(), 200) == 1000);
}
