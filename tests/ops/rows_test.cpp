// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/rows.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"

using zoq::index_t;
using namespace zoq::test;

TEST_CASE_TEMPLATE("add_bias: one for all rows, or one for every branch", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const index_t columns : {1, 64, 65, 200}) {
    for (const index_t biases : {1, 2, 4}) {
      const std::vector<float> x = uniform(4 * columns, 1), bias = uniform(biases * columns, 2);
      std::vector<float> y = x, wanted;
      for (index_t r = 0; r < 4; ++r) {
        for (index_t c = 0; c < columns; ++c) {
          wanted.push_back(x[at(r * columns + c)] + bias[at(r * biases / 4 * columns + c)]);
        }
      }
      zoq::add_bias(exec, matrix(bias, biases, columns), matrix(y, 4, columns));
      CHECK(same_bits(y, wanted));
    }
  }
  std::vector<float> y(8);
  const std::vector<float> bias(6);
  CHECK(message_of([&] { zoq::add_bias(exec, matrix(bias, 3, 2), matrix(y, 4, 2)); }) ==
        "add_bias: 3 x 2 to 4 x 2");
}

TEST_CASE_TEMPLATE("take_columns: a stretch of all rows, or of some rows of every branch", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t branches = 2, rows = 5, columns = 300, first = 70, count = 130;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  const std::vector<std::int32_t> some = {4, 1, 1};
  std::vector<float> all_rows(at(branches * rows * count)), picked(at(branches * 3 * count));
  zoq::take_columns(exec, matrix(x, branches * rows, columns), {}, branches, first,
                    matrix(all_rows, branches * rows, count));
  zoq::take_columns(exec, matrix(x, branches * rows, columns), {some.data(), {3}}, branches, first,
                    matrix(picked, branches * 3, count));
  std::vector<float> wanted_all, wanted;
  for (index_t b = 0; b < branches; ++b) {
    const auto take = [&](index_t r, std::vector<float>& to) {
      const auto from = x.begin() + (b * rows + r) * columns + first;
      to.insert(to.end(), from, from + count);
    };
    for (index_t r = 0; r < rows; ++r) {
      take(r, wanted_all);
    }
    for (const std::int32_t r : some) {
      take(r, wanted);
    }
  }
  CHECK(same_bits(all_rows, wanted_all));
  CHECK(same_bits(picked, wanted));
  CHECK(message_of([&] {
          zoq::take_columns(exec, matrix(x, branches * rows, columns), {}, branches, 171,
                            matrix(all_rows, branches * rows, count));
        }) == "take_columns: columns from 171 on of 10 x 300 to 10 x 130 for 5 rows of 2 branches");
}

TEST_CASE_TEMPLATE("put_rows: the first rows of every branch, its own values or one for all", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t branches = 3, rows = 4, put = 2, columns = 70, k = 3 + put * columns + 5;
  for (const index_t have : {index_t{1}, branches}) {
    const std::vector<float> values = uniform(have * k, 1);
    std::vector<float> x = uniform(branches * rows * columns, 2), wanted = x;
    for (index_t b = 0; b < branches; ++b) {
      const auto from = values.begin() + (have == 1 ? 0 : b) * k + 3;
      std::copy(from, from + put * columns, wanted.begin() + b * rows * columns);
    }
    const zoq::part_values part{{values.data(), {have, k}}, 3};
    zoq::put_rows(exec, part, put, branches, matrix(x, branches * rows, columns));
    CHECK(same_bits(x, wanted));
    CHECK(message_of([&] {
            zoq::put_rows(exec, part, 5, branches, matrix(x, branches * rows, columns));
          }) == zoq::text("put_rows: 5 rows of 70 in 12 rows of 3 branches, from ", have,
                          " x 148 values at 3"));
  }
}
