// The products of linear layers in formats without kernels of their own: the bits of their decoded
// values as floats, on every instruction set, policy and executor; and near serial's.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <vector>

#include "exec/executors.hpp"
#include "exec/linear_case.hpp"
#include "exec/stacked_case.hpp"
#include "quant/encoding.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#ifdef ZOQ_TEST_OMP
#include "zoq/exec/omp.hpp"
#endif

using zoq::cpu;
using zoq::index_t;
using namespace zoq::test;

#define ZOQ_TEST_SCHEMES \
  zoq::q5_0, zoq::q5_1, zoq::q4_k, zoq::q5_k, zoq::q6_k, zoq::nf4, zoq::lut4, zoq::lut3

namespace {

// Rows, outputs, columns in steps of 64, or of a block if that is larger: one output and a few; more
// than a panel; a depth of a stretch, of several and a part, of several panels.
constexpr index_t shapes[][3] = {{1, 1, 1}, {5, 70, 4}, {33, 129, 5}, {3, 66, 13}, {2, 3, 55}};

template <class S>
linear_case<S> case_of(const index_t (&shape)[3]) {
  const index_t step = S::block_size > 64 ? S::block_size : 64;
  const index_t columns = S::block_size > 64 ? (shape[2] + 3) / 4 * step : shape[2] * step;
  return {shape[0], shape[1], columns, static_cast<zoq::seed_t>(shape[0] + shape[1])};
}

// The same matrix as floats.
template <class S>
linear_case<zoq::f32_format> as_floats(const linear_case<S>& from) {
  linear_case<zoq::f32_format> out(from.rows, from.outputs, from.columns, 1);
  const std::vector<float> values = from.w.decoded();
  for (std::size_t i = 0; i < values.size(); ++i) {
    out.w.blocks[i].value = values[i];
  }
  out.x = from.x;
  out.dy = from.dy;
  return out;
}

template <class S, class X>
void has_bits_of_floats(const linear_case<S>& test, const X& exec) {
  const auto floats = as_floats(test);
  CHECK(same_bits(test.forward(exec), floats.forward(exec)));
  CHECK(same_bits(test.to_input(exec), floats.to_input(exec)));
}

}  // namespace

TEST_CASE_TEMPLATE("formats: products have the bits of the decoded values, on a CPU", S,
                   ZOQ_TEST_SCHEMES) {
  static_assert(!zoq::has_own_kernels<S>);
  for (const auto& shape : shapes) {
    CAPTURE(shape[1]);
    CAPTURE(shape[2]);
    const linear_case<S> test = case_of<S>(shape);
    has_bits_of_floats(test, zoq::serial{});
    const auto oracle = test.forward(zoq::serial{}), back = test.to_input(zoq::serial{});
    for_each_policy([&](const zoq::cpu_options& options) {
      const cpu exec(with_threads(options, 3));
      has_bits_of_floats(test, exec);
      // Rounding of inputs and weights: 2^-8 each of bf16, a 254th of i8's largest of 64.
      // A single output may be a small difference of large products.
      const bool one = shape[1] == 1;
      const double bound = exec.products() == zoq::compute::f32 ? 1e-5 : one ? 0.3 : 3e-2;
      CHECK(relative_to(test.forward(exec), oracle) < bound);
      CHECK(relative_to(test.to_input(exec), back) < 1e-5);
    });
  }
}

#ifdef ZOQ_TEST_OMP
TEST_CASE_TEMPLATE("formats: products have the bits of the decoded values, on Thrust", S,
                   ZOQ_TEST_SCHEMES) {
  for (const auto& shape : shapes) {
    if (shape[2] > 5) {
      continue;
    }
    const linear_case<S> test = case_of<S>(shape);
    for (const auto products : {zoq::compute::f32, zoq::compute::bf16}) {
      for (const index_t slice : {index_t{5000}, index_t{70'000}, index_t{1} << 24}) {
        CAPTURE(slice);
        has_bits_of_floats(test, zoq::omp{{products, slice}});
      }
    }
  }
}
#endif

TEST_CASE_TEMPLATE("formats: pairs of branches and a part have the bits of the decoded values", S,
                   zoq::q5_k, zoq::lut3) {
  const index_t branches = 4, rows = 7, outputs = 70, columns = 512;
  const packed_matrix<S> w(outputs, columns, 1);
  packed_matrix<zoq::f32_format> floats(outputs, columns, 1);
  const std::vector<float> values = w.decoded();
  for (std::size_t i = 0; i < values.size(); ++i) {
    floats.blocks[i].value = values[i];
  }
  const auto x = near_pairs(branches, rows, columns, 1e-3, 2);
  const entries added(every_entry(0, outputs, columns, 37), columns, branches, 3);
  const zoq::sparse_part part = added.part();
  for_each_policy([&](const zoq::cpu_options& options) {
    const cpu exec(options);
    CHECK(same_bits(stacked_product(exec, {branches, true}, x, w.any(), &part),
                    stacked_product(exec, {branches, true}, x, floats.any(), &part)));
  });
}
