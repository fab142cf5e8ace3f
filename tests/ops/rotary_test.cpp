// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/rotary.hpp"

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

constexpr index_t size = 8, heads = 3, positions = 40;
constexpr double base = 10000;
const std::vector<std::int32_t> places = {0, 1, 2, 7, 39};
const auto count = static_cast<index_t>(places.size());

zoq::tensor_view<const std::int32_t, 1> place_view() { return {places.data(), {count}}; }

}  // namespace

TEST_CASE("rotary: the table holds cosines and sines of position * base^(-2i / D)") {
  const std::vector<float> table = zoq::rotary_table(positions, size, base);
  REQUIRE(table.size() == at(positions * size));
  std::vector<double> wanted;
  for (index_t p = 0; p < positions; ++p) {
    for (index_t i = 0; i < size / 2; ++i) {
      const double angle =
          static_cast<double>(p) / std::exp(std::log(base) * static_cast<double>(2 * i) / size);
      wanted.push_back(std::cos(angle));
      wanted.push_back(std::sin(angle));
    }
  }
  CHECK(largest_difference(table, wanted) <= 0x1p-24);  // rounded once, values up to 1
}

TEST_CASE_TEMPLATE("rotary: turns neighbouring coordinates by the formula, in every branch", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t branches = 2;
  const std::vector<float> table = zoq::rotary_table(positions, size, base);
  const std::vector<float> x = uniform(branches * count * heads * size, 1);
  std::vector<float> turned = x;
  zoq::rotary(exec, matrix(turned, branches * count, heads * size), place_view(),
              matrix(table, positions, size));
  std::vector<double> wanted;
  for (index_t r = 0; r < branches * count; ++r) {
    for (index_t c = 0; c < heads * size; c += 2) {
      const double angle = static_cast<double>(places[at(r % count)]) *
                           std::pow(base, -static_cast<double>(c % size) / size);
      const auto a = static_cast<double>(x[at(r * heads * size + c)]);
      const auto b = static_cast<double>(x[at(r * heads * size + c + 1)]);
      wanted.push_back(a * std::cos(angle) - b * std::sin(angle));
      wanted.push_back(a * std::sin(angle) + b * std::cos(angle));
    }
  }
  // The table's rounding and three of the arithmetic, on values up to 1.
  CHECK(largest_difference(turned, wanted) <= 0x1p-21);
}

TEST_CASE_TEMPLATE("rotary: position 0 changes no bit, a turn back undoes a turn", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const std::vector<float> table = zoq::rotary_table(positions, size, base);
  const auto turns = matrix(table, positions, size);
  const std::vector<float> x = uniform(count * heads * size, 2);
  std::vector<float> y = x;
  const auto view = matrix(y, count, heads * size);
  zoq::rotary(exec, view, place_view(), turns);
  CHECK(same_bits(std::vector<float>(y.begin(), y.begin() + heads * size),
                  std::vector<float>(x.begin(), x.begin() + heads * size)));
  CHECK(largest_difference(y, x) > 0.1);
  zoq::rotary(exec, view, place_view(), turns, -1.0f);
  CHECK(largest_difference(y, x) <= 0x1p-21);  // cos^2 + sin^2 is 1 but for rounding
}

TEST_CASE("rotary: products of turned rows depend on their distance alone") {
  const zoq::serial exec;
  const std::vector<float> table = zoq::rotary_table(positions, size, base);
  const std::vector<float> a = uniform(size, 3), b = uniform(size, 4);
  const auto product = [&](std::int32_t p, std::int32_t q) {
    std::vector<float> x = a, y = b;
    zoq::rotary(exec, matrix(x, 1, size), {&p, {1}}, matrix(table, positions, size));
    zoq::rotary(exec, matrix(y, 1, size), {&q, {1}}, matrix(table, positions, size));
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    }
    return sum;
  };
  CHECK(std::fabs(product(3, 9) - product(30, 36)) <= 1e-6);  // 8 products, each within 2^-22
  CHECK(std::fabs(product(3, 9) - product(9, 3)) > 1e-3);
}

TEST_CASE("rotary: wrong shapes are refused") {
  std::vector<float> x(36), table(40);
  const auto error = [&](index_t rows, index_t columns, index_t places_given) {
    return message_of([&] {
      zoq::rotary(zoq::serial{}, matrix(x, rows, columns), {places.data(), {places_given}},
                  matrix(table, 5, 8));
    });
  };
  CHECK(error(3, 12, 3) == "rotary: x is 3 x 12 for 3 positions and heads of 8");
  CHECK(error(3, 8, 2) == "rotary: x is 3 x 8 for 2 positions and heads of 8");
  CHECK(error(3, 8, 0) == "rotary: x is 3 x 8 for 0 positions and heads of 8");
}

TEST_CASE_TEMPLATE("rotary: by halves turns coordinates that lie half a head apart, there and back",
                   X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const index_t rows = 2 * count;  // of two branches
  const std::vector<float> table = zoq::rotary_table(positions, size, base);
  const std::vector<float> x = uniform(rows * heads * size, 1);
  // The same coordinates as neighbours: i and i + D / 2 at 2 i and 2 i + 1.
  const auto place = [](index_t c) {
    return c - c % size + (c % size < size / 2 ? 2 * (c % size) : 2 * (c % size - size / 2) + 1);
  };
  std::vector<float> neighbours(x.size());
  for (index_t i = 0; i < rows * heads * size; ++i) {
    neighbours[at(place(i))] = x[at(i)];
  }
  const auto turn = [&](std::vector<float>& values, float direction, zoq::rotary_pairs pairs) {
    zoq::rotary(exec, matrix(values, rows, heads * size), place_view(),
                matrix(table, positions, size), direction, pairs);
  };
  std::vector<float> halves = x;
  turn(halves, 1.0f, zoq::rotary_pairs::halves);
  turn(neighbours, 1.0f, zoq::rotary_pairs::neighbours);
  std::vector<float> wanted;
  for (index_t i = 0; i < rows * heads * size; ++i) {
    wanted.push_back(neighbours[at(place(i))]);
  }
  // Compilers fuse the two loops' products and sums differently: a rounding of values up to 2.
  CHECK(largest_difference(halves, wanted) <= 0x1p-22);
  turn(halves, -1.0f, zoq::rotary_pairs::halves);
  CHECK(largest_difference(halves, x) <= 0x1p-21);
}
