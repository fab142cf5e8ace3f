// The executor template of devices, on the threads of a CPU: exec/thrust_executor.hpp, exec/omp.hpp.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#ifdef ZOQ_TEST_OMP
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "exec/rounding_bounds.hpp"
#include "exec/stacked_case.hpp"
#include "exec/whole_case.hpp"
#include "zoq/exec/omp.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/ops/linear.hpp"

using namespace zoq::test;
using zoq::compute;
using zoq::index_t;
using zoq::omp;

#define ZOQ_TEST_SCHEMES \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1

namespace {

template <class S>
constexpr index_t odd = S::block_size == 1 ? 5 : 0;

// Rows, outputs, columns; and slices of one line, a few, some that are not full, and all.
constexpr index_t shapes[][3] = {{1, 1, 32}, {9, 70, 96}, {33, 150, 320}};
constexpr index_t slices[] = {1, 5000, 70000, index_t{1} << 24};

struct square {
  const float* x;
  double operator()(index_t i) const {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
};

template <class F>
void for_each_omp(const F& f) {
  for (const compute products : {compute::f32, compute::bf16}) {
    for (const index_t slice : slices) {
      CAPTURE(zoq::name_of(products));
      CAPTURE(slice);
      f(omp{{products, slice}});
    }
  }
}

template <class Run>
std::string error_of(const Run& run) {
  try {
    run();
  } catch (const zoq::error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("omp: sums have serial's bits, and every index comes once") {
  const std::vector<float> x = uniform(20011, 1, -1, 1e4);
  const omp exec;
  for (const index_t n : {0, 1, 1024, 1025, 9000, 20011}) {
    CHECK(exec.sum(n, square{x.data()}) == zoq::serial{}.sum(n, square{x.data()}));
  }
  std::vector<int> seen(1000);
  exec.for_each(1000, [&](index_t i) { ++seen[static_cast<std::size_t>(i)]; });
  CHECK(std::count(seen.begin(), seen.end(), 1) == 1000);
  exec.for_each(0, [](index_t) { CHECK(false); });
}

TEST_CASE_TEMPLATE("omp: every product is as near to serial's as its rounding allows", S,
                   ZOQ_TEST_SCHEMES) {
  for (const auto& shape : shapes) {
    const linear_case<S> test(shape[0], shape[1], shape[2] + odd<S>, 5);
    const index_t rows = test.rows, outputs = test.outputs, columns = test.columns;
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
    const auto exact = exact_product(test.w, {test.x.begin(), test.x.end()}, rows);
    const auto to_input = test.to_input(zoq::serial{});
    const auto to_weight = test.to_weight(zoq::serial{});
    const auto to_input_size = magnitudes(rows, outputs, columns, dy, weight);
    const auto to_weight_size = magnitudes(
        outputs, rows, columns, [&](index_t o, index_t r) { return dy(r, o); }, x);
    const omp whole;
    for_each_omp([&](const omp& exec) {
      CHECK(errs_within(test.forward(exec), exact,
                        rounding_bounds(exec.products(), test.w, test.x, rows)));
      // The reverse is in float under every policy: sums of n products and two roundings.
      CHECK(within(test.to_input(exec), to_input, to_input_size,
                   static_cast<double>(outputs + 3) * 0x1p-24));
      CHECK(within(test.to_weight(exec), to_weight, to_weight_size,
                   static_cast<double>(rows + 3) * 0x1p-24));
      // How the weights are cut into slices changes no bit.
      CHECK(same_bits(test.forward(exec), test.forward(omp{{exec.products()}})));
      CHECK(same_bits(test.to_input(exec), test.to_input(whole)));
    });
  }
}

TEST_CASE_TEMPLATE("omp: pairs of branches, whole numbers exactly, and the first as if alone", S,
                   ZOQ_TEST_SCHEMES) {
  constexpr index_t branches = 4, rows = 7, outputs = 70;
  const index_t columns = 96 + odd<S>;
  const auto whole = whole_weights<S>(outputs, columns, 1);
  const auto numbers = whole_pairs(branches, rows, columns, 2);
  const auto wanted = whole_product(numbers, whole.decoded(), branches * rows, outputs, columns);
  const packed_matrix<S> w(outputs, columns, 1);
  const auto x = near_pairs(branches, rows, columns, 1e-3, 2);
  for_each_omp([&](const omp& exec) {
    CHECK(stacked_product(exec, {branches, true}, numbers, whole.any()) == wanted);
    const auto paired = stacked_product(exec, {branches, true}, x, w.any());
    for (const index_t b : {0, 2}) {
      CHECK(same_bits(branches_of(paired, branches, b, 1),
                      stacked_product(exec, {}, branches_of(x, branches, b, 1), w.any())));
      CHECK(same_bits(branches_of(paired, branches, b, 2),
                      stacked_product(exec, {2, true}, branches_of(x, branches, b, 2), w.any())));
    }
    const auto plain = stacked_product(exec, {branches}, x, w.any());
    CHECK(same_bits(paired, plain) == (exec.products() == compute::f32));
  });
}

TEST_CASE("omp: bf16 keeps the difference of a pair") {
  constexpr index_t rows = 5, outputs = 70, columns = 320;
  const packed_matrix<zoq::q4_1> w(outputs, columns, 1);
  const auto x = near_pairs(2, rows, columns, 1e-4, 2);
  std::vector<float> step = branches_of(x, 2, 1, 1);
  std::vector<double> exact;
  for (std::size_t i = 0; i < step.size(); ++i) {
    exact.push_back(static_cast<double>(step[i]) - static_cast<double>(x[i]));
    step[i] -= x[i];
  }
  const auto wanted = exact_product(w, exact, rows);
  const auto bound = rounding_bounds(compute::bf16, w, step, rows);
  const auto too_far = [&](bool pairs) {
    const auto y = stacked_product(omp{{compute::bf16}}, {2, pairs}, x, w.any());
    const std::size_t n = y.size() / 2;
    std::size_t count = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double second = static_cast<double>(y[n + i]);
      // The second output is the first and the difference, rounded to float once.
      count += !(std::fabs(second - static_cast<double>(y[i]) - wanted[i]) <=
                 bound[i] + 0x1p-24 * std::fabs(second));
    }
    return count;
  };
  CHECK(too_far(true) == 0);
  CHECK(too_far(false) > wanted.size() / 2);
}

TEST_CASE("omp: a part is added with the bits of overlay_rows, whatever is stacked") {
  // Blocks of rows and runs of outputs that are full or not; outputs with many entries and with none.
  constexpr index_t outputs = 70, columns = 96;
  const packed_matrix<zoq::q4_0> w(outputs, columns, 1);
  for (const index_t rows : {1, 31, 32, 33, 70}) {
    for (const index_t step : {1, 7, 131, 6000}) {
      constexpr index_t branches = 3;
      const entries added(every_entry(step == 7 ? 15 : 0, outputs, columns, step), columns,
                          branches, 4);
      const auto x = uniform(branches * rows * columns, 3);
      const zoq::sparse_part part = added.part();
      for_each_omp([&](const omp& exec) {
        std::vector<float> wanted = stacked_product(exec, {branches}, x, w.any());
        const zoq::overlay_rows overlay{part,
                                        {x.data(), {branches * rows, columns}},
                                        {wanted.data(), {branches * rows, outputs}},
                                        rows};
        zoq::serial{}.for_each(branches * overlay.blocks(), overlay);
        const auto found = stacked_product(exec, {branches}, x, w.any(), &part);
        CHECK(same_bits(found, wanted));
        const zoq::sparse_part second = added.of(1, 1);
        CHECK(
            same_bits(branches_of(found, branches, 1, 1),
                      stacked_product(exec, {}, branches_of(x, branches, 1, 1), w.any(), &second)));
      });
    }
  }
}

TEST_CASE("omp: workspaces grow to what is needed and stay") {
  const linear_case<zoq::q4_1> test(9, 70, 96, 5);
  const omp exec{{compute::bf16, 96 * 2 * 16}};
  CHECK(exec.byte_count() == 0);
  static_cast<void>(test.forward(exec));
  // 9 x 96 inputs and 16 rows of 96 weights, in bfloat16.
  CHECK(exec.byte_count() == (9 + 16) * 96 * 2);
  static_cast<void>(test.forward(exec, 0, 3));
  CHECK(exec.byte_count() == (9 + 16) * 96 * 2);
}

TEST_CASE("omp: what it does not have is refused") {
  CHECK(error_of([] { omp{{compute::i8}}; }) ==
        "omp: products are f32 or bf16, i8 is for CPUs only");
  CHECK(error_of([] { omp{{compute::f32, 0}}; }) == "omp: slices of 0 bytes");
}

namespace {

// A back-end that has all that one may have.
struct able_back : zoq::omp_back {
  static constexpr index_t most_packed_rows = 4;
  mutable index_t* calls;

  struct options {
    compute products = compute::f32;
    index_t slice_bytes = 4096;
    index_t* calls = nullptr;
  };
  explicit able_back(const options& how) : omp_back({}), calls(how.calls) {}

  template <class T, class S>
  void multiply_packed(zoq::tensor_view<const T, 2> x, const zoq::packed_view<S>& w,
                       zoq::tensor_view<float, 2> y) const {
    ++*calls;
    std::vector<float> row(static_cast<std::size_t>(x.shape[1]));
    for (index_t r = 0; r < x.shape[0]; ++r) {
      for (index_t o = 0; o < y.shape[1]; ++o) {
        zoq::decode_row(w, o, row.data());
        float sum = 0;
        for (index_t c = 0; c < x.shape[1]; ++c) {
          sum += zoq::to_float(x(r, c)) *
                 zoq::to_float(zoq::detail::rounded_to<T>(row[static_cast<std::size_t>(c)]));
        }
        y(r, o) = sum;
      }
    }
  }
  template <class Task>
  void attention(const Task&) const {}
  template <class Task>
  void run_blocks(index_t, const Task&) const {}
  [[nodiscard]] index_t byte_count() const { return 64; }
};

template <class X>
constexpr bool has_attention = requires(const X& exec) {
  exec.attention(0);
};
template <class X>
constexpr bool has_blocks = requires(const X& exec) {
  exec.run_blocks(1, 0);
};
using able = zoq::thrust_executor<able_back>;
static_assert(zoq::executor<able> && has_attention<able> && has_blocks<able>);
static_assert(!has_attention<omp> && !has_blocks<omp>);

}  // namespace

TEST_CASE("thrust_executor: a back-end's own product of few rows is used for few rows") {
  index_t calls = 0;
  const linear_case<zoq::q4_1> test(9, 70, 96, 5);
  for (const compute products : {compute::f32, compute::bf16}) {
    const able exec{{.products = products, .calls = &calls}};
    calls = 0;
    CHECK(same_bits(test.forward(exec, 0, 4), test.forward(omp{{products}}, 0, 4)));
    CHECK(calls == 1);
    CHECK(same_bits(test.forward(exec, 0, 5), test.forward(omp{{products}}, 0, 5)));
    CHECK(calls == 1);
    CHECK(exec.byte_count() >= 64);
  }
}
#endif
