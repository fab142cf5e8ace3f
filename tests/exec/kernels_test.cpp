// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/kernels.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/random_blocks.hpp"
#include "random_values.hpp"
#include "zoq/exec/instruction_set.hpp"

using zoq::index_t;
using zoq::instruction_set;

namespace {

// One type for each namespace of kernels.
struct portable_kernels {
  static constexpr auto set = instruction_set::portable;
  static constexpr int width = zoq::detail::portable::panel_width;
  static constexpr int tile = zoq::detail::portable::tile_rows;
  template <class... Args>
  static void multiply_panel(const Args&... args) {
    zoq::detail::portable::multiply_panel(zoq::detail::portable::f32_products{}, args...);
  }
  template <class... Args>
  static void fill_panel(const Args&... args) {
    zoq::detail::portable::fill_panel(zoq::detail::portable::f32_products{}, args...);
  }
  template <class F>
  static void run_range(const F& f, index_t begin, index_t end) {
    zoq::detail::portable::run_range(f, begin, end);
  }
};
struct avx2_kernels {
  static constexpr auto set = instruction_set::avx2;
  static constexpr int width = zoq::detail::avx2::panel_width;
  static constexpr int tile = zoq::detail::avx2::tile_rows;
  template <class... Args>
  static void multiply_panel(const Args&... args) {
    zoq::detail::avx2::multiply_panel(zoq::detail::avx2::f32_products{}, args...);
  }
  template <class... Args>
  static void fill_panel(const Args&... args) {
    zoq::detail::avx2::fill_panel(zoq::detail::avx2::f32_products{}, args...);
  }
  template <class F>
  static void run_range(const F& f, index_t begin, index_t end) {
    zoq::detail::avx2::run_range(f, begin, end);
  }
};
struct avx512_kernels {
  static constexpr auto set = instruction_set::avx512;
  static constexpr int width = zoq::detail::avx512::panel_width;
  static constexpr int tile = zoq::detail::avx512::tile_rows;
  template <class... Args>
  static void multiply_panel(const Args&... args) {
    zoq::detail::avx512::multiply_panel(zoq::detail::avx512::f32_products{}, args...);
  }
  template <class... Args>
  static void fill_panel(const Args&... args) {
    zoq::detail::avx512::fill_panel(zoq::detail::avx512::f32_products{}, args...);
  }
  template <class F>
  static void run_range(const F& f, index_t begin, index_t end) {
    zoq::detail::avx512::run_range(f, begin, end);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("kernels: a panel of any width times any number of rows, and nothing beside it",
                   K, portable_kernels, avx2_kernels, avx512_kernels) {
  if (!zoq::supports(K::set)) {
    MESSAGE("this machine has no ", zoq::name_of(K::set));
    return;
  }
  // Whole numbers: exact in any order, so the fast sum must equal the plain one. A depth of two
  // and a half stretches, strides larger than the matrices.
  constexpr index_t depth = 2 * zoq::detail::panel_depth + 100;
  constexpr index_t a_stride = depth + 3;
  constexpr float untouched = -12345;
  for (const index_t outputs : {1, K::width - 1, K::width, 2 * K::width + 1}) {
    const std::vector<float> w = zoq::test::whole_numbers(depth * outputs, 1, 3);
    const zoq::detail::dense_panels source{{w.data(), {depth, outputs}}};
    const index_t y_stride = outputs + 2;
    for (const index_t rows : {1, 2, K::tile - 1, K::tile, K::tile + 1, 2 * K::tile + 1}) {
      const std::vector<float> a = zoq::test::whole_numbers(rows * a_stride, 2, 3);
      std::vector<float> y(static_cast<std::size_t>((rows + 1) * y_stride), untouched);
      for (index_t first = 0; first < outputs; first += K::width) {
        K::multiply_panel(source, first, a.data(), a_stride, rows, y.data(), y_stride);
      }
      index_t wrong = 0;
      for (index_t r = 0; r <= rows; ++r) {
        for (index_t o = 0; o < y_stride; ++o) {
          float wanted = untouched;
          if (r < rows && o < outputs) {
            wanted = 0;
            for (index_t k = 0; k < depth; ++k) {
              wanted += a[static_cast<std::size_t>(r * a_stride + k)] *
                        w[static_cast<std::size_t>(k * outputs + o)];
            }
          }
          wrong += y[static_cast<std::size_t>(r * y_stride + o)] != wanted;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE_TEMPLATE("kernels: a panel of packed rows holds the bits that decode gives", K,
                   portable_kernels, avx2_kernels, avx512_kernels) {
  if (!zoq::supports(K::set)) {
    return;
  }
  zoq::formats::for_each([]<class S>(S) {
    // Less than a panel, and more; from the beginning of the row and from its middle; wild scales,
    // subnormal, infinite and NaN, with the columns of one block or of two and a bit.
    constexpr index_t outputs = K::width + 5, columns = 3 * 32 + (S::block_size == 1 ? 7 : 0);
    zoq::test::packed_matrix<S> w(outputs, columns, 1);
    w.blocks = zoq::test::wild_blocks<S>(outputs * (columns / S::block_size), 2);
    const std::vector<float> decoded = w.decoded();
    const zoq::detail::row_panels<S> source{w.view()};
    for (const index_t begin : {0, 32}) {
      for (const index_t first : {index_t{0}, index_t{K::width}}) {
        const index_t depth = columns - begin;
        std::vector<float> panel(static_cast<std::size_t>(depth * K::width));
        K::fill_panel(source, first, begin, depth, panel.data());
        index_t wrong = 0;
        for (index_t k = 0; k < depth; ++k) {
          for (index_t j = 0; j < K::width && first + j < outputs; ++j) {
            const float found = panel[static_cast<std::size_t>(k * K::width + j)];
            const float wanted =
                decoded[static_cast<std::size_t>((first + j) * columns + begin + k)];
            wrong += !(zoq::test::same_bits(&found, &wanted, 1) ||
                       (std::isnan(found) && std::isnan(wanted)));
          }
        }
        CAPTURE(S::name);
        CHECK(wrong == 0);
      }
    }
  });
}

TEST_CASE_TEMPLATE("kernels: a range runs every index once", K, portable_kernels, avx2_kernels,
                   avx512_kernels) {
  if (!zoq::supports(K::set)) {
    return;
  }
  std::vector<int> times(50);
  K::run_range([&](index_t i) { ++times[static_cast<std::size_t>(i)]; }, 7, 41);
  for (index_t i = 0; i < 50; ++i) {
    CHECK(times[static_cast<std::size_t>(i)] == (i >= 7 && i < 41 ? 1 : 0));
  }
}
