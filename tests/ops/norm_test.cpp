// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/norm.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"

using zoq::index_t;
using namespace zoq::test;

TEST_CASE_TEMPLATE("rms_norm: the formula, for any number of columns", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 5;
  for (const index_t columns : {1, 7, 16, 17, 64, 576}) {
    CAPTURE(columns);
    for (const float epsilon : {1e-5f, 0.5f}) {
      const std::vector<float> x = uniform(rows * columns, 1, -3, 3);
      const std::vector<float> gain = uniform(columns, 2);
      std::vector<float> y(x.size());
      zoq::rms_norm(exec, matrix(x, rows, columns), {gain.data(), {columns}}, epsilon,
                    matrix(y, rows, columns));
      std::vector<double> wanted;
      for (index_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (index_t c = 0; c < columns; ++c) {
          squares += std::pow(static_cast<double>(x[at(r * columns + c)]), 2);
        }
        const double scale =
            1 / std::sqrt(squares / static_cast<double>(columns) + static_cast<double>(epsilon));
        for (index_t c = 0; c < columns; ++c) {
          wanted.push_back(static_cast<double>(x[at(r * columns + c)]) * scale *
                           static_cast<double>(gain[at(c)]));
        }
      }
      // 16 running sums of up to 36 squares and a tree: some 1e-6 of the mean, half in the root.
      CHECK(relative_error(y, wanted) <= 2e-6);
    }
  }
}

TEST_CASE_TEMPLATE("rms_norm: in place it gives the same bits, and a power of two cancels", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 3, columns = 40;
  std::vector<float> x = uniform(rows * columns, 3);
  const std::vector<float> gain = uniform(columns, 4);
  std::vector<float> y(x.size());
  zoq::rms_norm(exec, matrix(x, rows, columns), {gain.data(), {columns}}, 0.0f,
                matrix(y, rows, columns));
  for (float& value : x) {
    value *= 1024;
  }
  zoq::rms_norm(exec, matrix(x, rows, columns), {gain.data(), {columns}}, 0.0f,
                matrix(x, rows, columns));
  CHECK(same_bits(x, y));
}

TEST_CASE("rms_norm: a row of zeros stays zero, wrong shapes are refused") {
  const zoq::serial exec;
  const std::vector<float> x(8), gain(4, 1.0f);
  std::vector<float> y(8, 9.0f);
  zoq::rms_norm(exec, matrix(x, 2, 4), {gain.data(), {4}}, 1e-5f, matrix(y, 2, 4));
  CHECK(same_bits(y, x));
  CHECK(message_of([&] {
          zoq::rms_norm(exec, matrix(x, 2, 4), {gain.data(), {3}}, 1e-5f, matrix(y, 2, 4));
        }) == "rms_norm: x is 2 x 4, gain 3, y 2 x 4");
  CHECK(message_of([&] {
          zoq::rms_norm(exec, matrix(x, 2, 4), {gain.data(), {4}}, 1e-5f, matrix(y, 1, 4));
        }) == "rms_norm: x is 2 x 4, gain 4, y 1 x 4");
}

TEST_CASE_TEMPLATE("rms_norm_of_branches: gives the bits of each branch alone", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t branches = 3, rows = 4, columns = 40;
  const std::vector<float> x = uniform(branches * rows * columns, 3);
  const std::vector<float> gain = uniform(branches * columns, 4);
  std::vector<float> y(x.size()), alone(x.size());
  const auto all = matrix(x, branches * rows, columns);
  zoq::rms_norm_of_branches(exec, all, matrix(gain, branches, columns), 1e-5f,
                            matrix(y, branches * rows, columns));
  for (index_t b = 0; b < branches; ++b) {
    const zoq::tensor_view<const float, 1> own{gain.data() + b * columns, {columns}};
    zoq::rms_norm(exec, all.rows(b * rows, rows), own, 1e-5f,
                  matrix(alone, branches * rows, columns).rows(b * rows, rows));
  }
  CHECK(same_bits(y, alone));
}
