// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "exec/emulated_tiles.hpp"
#include "exec/linear_case.hpp"
#include "random_values.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/kernels.hpp"
#include "zoq/exec/serial.hpp"

#if defined(__x86_64__)

using namespace zoq::test;
using zoq::index_t;
using zoq::instruction_set;

namespace {

// y of `rows` slots through panels of amx products.
template <zoq::quant_scheme S>
std::vector<float> multiply(const linear_case<S>& test, bool pairs) {
  using products = zoq::detail::avx512::amx_products<emulated_tiles>;
  const index_t stride = (test.columns + products::columns - 1) / products::columns;
  std::vector<float> y(static_cast<std::size_t>(test.rows * test.outputs));
  const zoq::detail::output_rows out{y.data(), test.outputs, pairs ? test.rows / 2 : test.rows,
                                     pairs};
  zoq::buffer<products::input> a(test.rows * stride);
  for (index_t s = 0; s < test.rows; ++s) {
    const float* x = test.x.data() + out.row(s) * test.columns;
    const float* base = test.x.data() + out.row(s - s % 2) * test.columns;
    round_row(products{}, x, pairs && s % 2 == 1 ? base : nullptr, test.columns,
              a.data() + s * stride);
  }
  for (index_t first = 0; first < test.outputs; first += products::width) {
    multiply_panel(products{}, zoq::detail::row_panels<S>{test.w.view()}, first, a.data(), stride,
                   {0, test.rows}, out, zoq::detail::nothing_added{});
  }
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("amx: what surrounds the tiles equals avx512, whatever the numbers of rows", S,
                   zoq::f32_format, zoq::bf16_format, zoq::q4_1) {
  if (!zoq::supports(instruction_set::avx512)) {
    return;
  }
  const zoq::cpu exec{
      {.threads = 1, .kernels = instruction_set::avx512, .products = zoq::compute::bf16}};
  const index_t odd = S::block_size == 1 ? 5 : 0;
  for (const index_t rows : {1, 2, 16, 17, 32, 33, 70}) {
    for (const index_t columns : {32, 96, 1600}) {
      const linear_case<S> test(rows, 70, columns + odd, 3);
      const std::vector<float> found = multiply(test, false), wanted = test.forward(exec);
      const std::vector<float> weights = test.w.decoded();
      const auto size = magnitudes(
          rows, test.columns, 70,
          [&](index_t r, index_t k) {
            return test.x[static_cast<std::size_t>(r * test.columns + k)];
          },
          [&](index_t k, index_t o) {
            return weights[static_cast<std::size_t>(o * test.columns + k)];
          });
      // The same products, summed in another order in float.
      CHECK(within(found, wanted, size, static_cast<double>(columns) * 0x1p-23));
    }
  }
}

TEST_CASE("amx: pairs are joined as avx512 joins them") {
  if (!zoq::supports(instruction_set::avx512)) {
    return;
  }
  linear_case<zoq::q4_1> test(2 * 37, 70, 1600, 5);
  const index_t half = 37 * test.columns;
  for (index_t i = 0; i < half; ++i) {
    test.x[static_cast<std::size_t>(half + i)] =
        test.x[static_cast<std::size_t>(i)] * (1 + 1e-3f * static_cast<float>(i % 7));
  }
  const std::vector<float> found = multiply(test, true);
  std::vector<float> wanted(found.size());
  const zoq::cpu exec{
      {.threads = 1, .kernels = instruction_set::avx512, .products = zoq::compute::bf16}};
  const zoq::linear_layer layer{test.w.any(), nullptr, {wanted.data(), {2 * 37, 70}}};
  exec.linear({test.x.data(), {2 * 37, test.columns}}, {2, true}, std::span(&layer, 1));
  double largest = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest,
                       std::fabs(static_cast<double>(found[i]) - static_cast<double>(wanted[i])));
    size = std::max(size, std::fabs(static_cast<double>(wanted[i])));
  }
  CHECK(largest < 1e-4 * size);
}

TEST_CASE("amx: on a machine that has it, against serial") {
  if (!zoq::supports(instruction_set::amx)) {
    MESSAGE("this machine has no amx");
    return;
  }
  const zoq::cpu exec{
      {.threads = 2, .kernels = instruction_set::amx, .products = zoq::compute::bf16}};
  const linear_case<zoq::q4_1> test(70, 130, 1600, 7);
  const std::vector<float> found = test.forward(exec), wanted = test.forward(zoq::serial{});
  double error = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - static_cast<double>(wanted[i]), 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  CHECK(std::sqrt(error / size) < 5e-3);
}

#endif
