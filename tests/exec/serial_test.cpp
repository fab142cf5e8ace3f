// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/serial.hpp"

#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "exec/linear_case.hpp"

using namespace zoq::test;
using zoq::index_t;

TEST_CASE("serial: every index once, in order") {
  std::vector<index_t> seen;
  zoq::serial{}.for_each(5, [&](index_t i) { seen.push_back(i); });
  CHECK(seen == std::vector<index_t>{0, 1, 2, 3, 4});
  zoq::serial{}.for_each(0, [&](index_t) { CHECK(false); });
}

TEST_CASE("serial: sums") {
  CHECK(zoq::serial{}.sum(0, [](index_t) { return 1.0; }) == 0);
  CHECK(zoq::serial{}.sum(5000, [](index_t i) { return static_cast<double>(i); }) == 12497500);
}

TEST_CASE_TEMPLATE("serial: the products of a linear layer, by their formulas", S, zoq::f32_format,
                   zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1) {
  const zoq::serial exec;
  for (const auto& [rows, outputs, columns] :
       {std::array<index_t, 3>{1, 1, 32}, {3, 5, 64}, {7, 2, 576}}) {
    const linear_case<S> test(rows, outputs, columns, 5);
    const std::vector<float> w = test.w.decoded();
    const auto weight = [&, c_count = columns](index_t o, index_t c) {
      return w[static_cast<std::size_t>(o * c_count + c)];
    };
    const auto x = [&, c_count = columns](index_t r, index_t c) {
      return test.x[static_cast<std::size_t>(r * c_count + c)];
    };
    const auto dy = [&, o_count = outputs](index_t r, index_t o) {
      return test.dy[static_cast<std::size_t>(r * o_count + o)];
    };
    const auto product = [](index_t i_count, index_t k_count, index_t j_count, auto&& a, auto&& b) {
      std::vector<float> out;
      for (index_t i = 0; i < i_count; ++i) {
        for (index_t j = 0; j < j_count; ++j) {
          long double sum = 0;
          for (index_t k = 0; k < k_count; ++k) {
            sum += static_cast<long double>(a(i, k)) * static_cast<long double>(b(k, j));
          }
          out.push_back(static_cast<float>(sum));
        }
      }
      return out;
    };
    // Sums in double are rounded to float once, with a relative error of 2^-24; their own is a
    // million times smaller. Of the size of the terms, since sums may cancel.
    const auto close = [](const std::vector<float>& a, const std::vector<float>& b,
                          const std::vector<double>& size) { return within(a, b, size, 0x1p-23); };
    const auto transposed = [](auto f) { return [f](index_t i, index_t j) { return f(j, i); }; };
    CHECK(close(test.forward(exec), product(rows, columns, outputs, x, transposed(weight)),
                magnitudes(rows, columns, outputs, x, transposed(weight))));
    CHECK(close(test.to_input(exec), product(rows, outputs, columns, dy, weight),
                magnitudes(rows, outputs, columns, dy, weight)));
    CHECK(close(test.to_weight(exec), product(outputs, rows, columns, transposed(dy), x),
                magnitudes(outputs, rows, columns, transposed(dy), x)));
  }
}
