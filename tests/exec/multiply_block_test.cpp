// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/multiply_block.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "exec/block_executor.hpp"
#include "exec/linear_case.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/formats.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

// Rows, outputs, columns: less than, exactly and more than a block's outputs; a depth of one run, of a
// stretch, of several and a part; each number of rows that there is a kernel for, and less.
constexpr index_t shapes[][3] = {{1, 1, 32},   {1, 70, 576},  {2, 32, 512}, {3, 33, 1056},
                                 {4, 64, 544}, {5, 31, 1536}, {16, 40, 96}, {11, 97, 608}};

template <class T>
std::vector<T> as(const std::vector<float>& x) {
  std::vector<T> out;
  for (const float value : x) {
    if constexpr (std::is_same_v<T, zoq::bf16>) {
      out.push_back(zoq::to_bf16(value));
    } else {
      out.push_back(value);
    }
  }
  return out;
}

/// y for `count` rows from `first` on.
template <class T, zoq::quant_scheme S>
std::vector<float> multiplied(const linear_case<S>& c, index_t first, index_t count) {
  const std::vector<T> x = as<T>(c.x);
  std::vector<float> y = linear_case<S>::output(count * c.outputs);
  const zoq::tensor_view<const T, 2> some{x.data() + first * c.columns, {count, c.columns}};
  zoq::with_multiply_block(
      some, c.w.view(), zoq::tensor_view<float, 2>{y.data(), {count, c.outputs}},
      [](const auto& task) { block_executor{}.run_blocks(task.blocks(), task); });
  return linear_case<S>::guarded(y);
}

/// The same in double from the values as T has them, and what its sum's rounding is measured by.
template <class T, zoq::quant_scheme S>
bool near_exact(const linear_case<S>& c) {
  const std::vector<T> x = as<T>(c.x), w = as<T>(c.w.decoded());
  const std::vector<float> y = multiplied<T>(c, 0, c.rows);
  bool near = y.size() == static_cast<std::size_t>(c.rows * c.outputs);
  for (index_t r = 0; near && r < c.rows; ++r) {
    for (index_t o = 0; o < c.outputs; ++o) {
      double sum = 0, size = 0;
      for (index_t i = 0; i < c.columns; ++i) {
        const double term =
            static_cast<double>(zoq::to_float(x[static_cast<std::size_t>(r * c.columns + i)])) *
            static_cast<double>(zoq::to_float(w[static_cast<std::size_t>(o * c.columns + i)]));
        sum += term;
        size += std::fabs(term);
      }
      // A float sum of C products in any order errs by at most C 2^-24 of their sizes.
      const double error =
          std::fabs(static_cast<double>(y[static_cast<std::size_t>(r * c.outputs + o)]) - sum);
      near = near && error <= static_cast<double>(c.columns) * 0x1p-24 * size;
    }
  }
  return near;
}

// Formats of one value a block take any number of columns: odd ones.
template <class S>
linear_case<S> case_of(const index_t (&shape)[3]) {
  const index_t odd = S::block_size == 1 ? 5 : 0;
  return {shape[0], shape[1], shape[2] + odd, static_cast<zoq::seed_t>(shape[0] + shape[1])};
}

// f(S{}) for every format that the task is for.
template <class F>
void for_own_kernels(const F& f) {
  zoq::formats::for_each([&]<class S>(S scheme) {
    if constexpr (zoq::has_own_kernels<S>) {
      f(scheme);
    }
  });
}

}  // namespace

TEST_CASE("multiply_block: a product errs by its sum's rounding alone, in every format") {
  for_own_kernels([]<class S>(S) {
    CAPTURE(S::name);
    for (const auto& shape : shapes) {
      CAPTURE(shape[0]);
      CAPTURE(shape[2]);
      const linear_case<S> c = case_of<S>(shape);
      CHECK(near_exact<float>(c));
      CHECK(near_exact<zoq::bf16>(c));
    }
  });
}

TEST_CASE("multiply_block: a row's bits do not depend on the rows beside it") {
  for_own_kernels([]<class S>(S) {
    CAPTURE(S::name);
    const linear_case<S> c = case_of<S>(shapes[7]);
    const std::vector<float> all = multiplied<float>(c, 0, c.rows);
    for (const index_t count : {1, 3, 7}) {
      const std::vector<float> some = multiplied<float>(c, 2, count);
      CHECK(same_bits(some, {all.begin() + 2 * c.outputs, all.begin() + (2 + count) * c.outputs}));
    }
  });
}

TEST_CASE("multiply_block: shared memory fits every device, 48 KiB a block") {
  CHECK(sizeof(zoq::multiply_block<zoq::q4_1, 16, float>::shared) <= 48 * 1024);
}
