// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/pointwise.hpp"

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

namespace {
// Around the ends of runs of 64 elements.
const index_t lengths[] = {1, 63, 64, 65, 200};
}  // namespace

TEST_CASE_TEMPLATE("swiglu: silu(gate) * up", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const index_t n : lengths) {
    const std::vector<float> gate = uniform(n, 1, -8, 8), up = uniform(n, 2);
    std::vector<float> y = gate;
    zoq::swiglu(exec, matrix(y, 1, n), matrix(up, 1, n));
    bool close = true;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const auto g = static_cast<double>(gate[i]);
      const double wanted = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
      // 2^-22 of exp_f32 and three roundings of 2^-24.
      close = close && std::fabs(static_cast<double>(y[i]) - wanted) <= 5e-7 * std::fabs(wanted);
    }
    CHECK(close);
  }
}

TEST_CASE_TEMPLATE("swiglu: far gates are 0 and the gate itself", X, ZOQ_TEST_EXECUTORS) {
  std::vector<float> gate = {-1e30f, -200, -90, 0, 90, 200, 1e30f};
  const std::vector<float> up(gate.size(), 1.0f);
  const auto n = static_cast<index_t>(gate.size());
  zoq::swiglu(X{}, matrix(gate, 1, n), matrix(up, 1, n));
  CHECK(std::fabs(gate[0]) < 1e-7f);  // the exponential stops at e^88: 1e30 / e^88 is 6e-9
  CHECK(std::fabs(gate[1]) < 1e-30f);
  CHECK(std::fabs(gate[2]) < 1e-30f);
  CHECK(gate[3] == 0);
  CHECK(gate[4] == 90);
  CHECK(gate[5] == 200);
  CHECK(gate[6] == 1e30f);
}

TEST_CASE_TEMPLATE("add, copy and clear are exact", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const index_t n : lengths) {
    const std::vector<float> x = uniform(n, 3), y = uniform(n, 4);
    std::vector<float> sum = x, same(at(n), 5.0f), none = x, wanted;
    for (std::size_t i = 0; i < x.size(); ++i) {
      wanted.push_back(x[i] + y[i]);
    }
    zoq::add(exec, matrix(y, 1, n), matrix(sum, 1, n));
    zoq::copy(exec, matrix(x, 1, n), matrix(same, 1, n));
    zoq::clear(exec, matrix(none, 1, n));
    CHECK(same_bits(sum, wanted));
    CHECK(same_bits(same, x));
    CHECK(same_bits(none, std::vector<float>(at(n))));
  }
}

TEST_CASE_TEMPLATE("gather_rows: the rows of every branch, in the order asked for", X,
                   ZOQ_TEST_EXECUTORS) {
  constexpr index_t branches = 3, rows = 5, columns = 7;
  const std::vector<float> from = uniform(branches * rows * columns, 5);
  const std::vector<std::int32_t> wanted = {4, 0, 4};
  std::vector<float> to(at(branches * 3 * columns)), expected;
  zoq::gather_rows(X{}, matrix(from, branches * rows, columns), {wanted.data(), {3}}, branches,
                   matrix(to, branches * 3, columns));
  for (index_t b = 0; b < branches; ++b) {
    for (const auto row : wanted) {
      const auto first = from.begin() + (b * rows + row) * columns;
      expected.insert(expected.end(), first, first + columns);
    }
  }
  CHECK(same_bits(to, expected));
}

TEST_CASE("pointwise: wrong shapes are refused") {
  const zoq::serial exec;
  std::vector<float> x(12);
  const std::vector<std::int32_t> rows = {0};
  CHECK(message_of([&] { zoq::swiglu(exec, matrix(x, 2, 3), matrix(x, 2, 2)); }) ==
        "swiglu: 6 gates for 4 values");
  CHECK(message_of([&] { zoq::add(exec, matrix(x, 2, 3), matrix(x, 2, 2)); }) ==
        "add: 6 elements to 4");
  CHECK(message_of([&] { zoq::copy(exec, matrix(x, 2, 3), matrix(x, 2, 2)); }) ==
        "copy: 6 elements to 4");
  CHECK(message_of([&] {
          zoq::gather_rows(exec, matrix(x, 3, 2), {rows.data(), {1}}, 2, matrix(x, 2, 2));
        }) == "gather_rows: from 3 x 2 to 2 x 2 for 1 rows of 2 branches");
}
