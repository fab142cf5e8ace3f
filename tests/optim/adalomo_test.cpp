// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/adalomo.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "ops/samples.hpp"

using zoq::adalomo;
using zoq::index_t;
using namespace zoq::test;

namespace {

// Two matrices and one of a single row, with values that belong to none behind them.
const zoq::extent extents[] = {{0, 6, 5}, {30, 1, 9}, {39, 4, 1}};
const zoq::value_order order{extents, 3, 43};
constexpr index_t k = 43;

/// The formula for one matrix, in double.
struct reference {
  index_t rows, columns;
  std::vector<double> r = std::vector<double>(at(rows)), c = std::vector<double>(at(columns));
  int t = 0;

  void step(const adalomo& o, const float* g, double* w) {
    ++t;
    const double b = 1 - std::pow(t, -o.decay);
    std::vector<double> row(at(rows)), column(at(columns));
    double size = 0, rms = 0, sum = 0;
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < columns; ++j) {
        const double x = static_cast<double>(g[i * columns + j]);
        row[at(i)] += x * x + o.epsilon;
        column[at(j)] += x * x + o.epsilon;
        size += w[i * columns + j] * w[i * columns + j];
      }
    }
    for (index_t i = 0; i < rows; ++i) {
      r[at(i)] = b * r[at(i)] + (1 - b) * row[at(i)];
      sum += r[at(i)];
    }
    for (index_t j = 0; j < columns; ++j) {
      c[at(j)] = b * c[at(j)] + (1 - b) * column[at(j)];
    }
    std::vector<double> u;
    for (index_t i = 0; i < rows * columns; ++i) {
      const double v = r[at(i / columns)] * c[at(i % columns)] / sum;
      u.push_back(static_cast<double>(g[i]) / std::sqrt(v));
      rms += u.back() * u.back();
    }
    const auto n = static_cast<double>(rows * columns);
    rms = std::sqrt(rms / n);
    size = std::sqrt(size / n);
    const double now = o.rate * std::fmax(o.floor, size);
    for (index_t i = 0; i < rows * columns; ++i) {
      w[i] = w[i] * (1 - now * o.weight_decay) - now * u[at(i)] / std::fmax(1, rms / o.clip);
    }
  }
};

}  // namespace

TEST_CASE_TEMPLATE("adalomo: against the formula in double, over 300 steps", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const adalomo& o :
       {adalomo{.rate = 0.02},
        adalomo{.rate = 0.05, .decay = 0.5, .clip = 0.5, .floor = 0.01, .weight_decay = 0.1}}) {
    std::vector<float> w = uniform(k, 1), state(at(o.state_size(order)));
    REQUIRE(state.size() == 6 + 5 + 1 + 9 + 4 + 1);
    std::vector<double> wanted(w.begin(), w.end());
    std::vector<reference> matrices = {{6, 5}, {1, 9}, {4, 1}};
    double worst = 0;
    for (std::uint64_t t = 0; t < 300; ++t) {
      const std::vector<float> g = uniform(k, 100 + t);
      o.apply(exec, order, {.step = t}, g.data(), state.data(), w.data());
      for (std::size_t m = 0; m < 3; ++m) {
        matrices[m].step(o, g.data() + extents[m].first, wanted.data() + extents[m].first);
      }
      for (index_t i = 0; i < k; ++i) {
        worst = std::fmax(worst, std::fabs(static_cast<double>(w[at(i)]) - wanted[at(i)]));
      }
    }
    // Values of about 1, rounded 300 times by 2^-25, and factors by 2^-24 of themselves.
    CHECK(worst <= 1e-5);
    CHECK(wanted[0] != doctest::Approx(static_cast<double>(uniform(k, 1)[0])).epsilon(0.01));
  }
}

TEST_CASE("adalomo: of one row every value has a second moment of its own") {
  const zoq::serial exec;
  const zoq::extent row{0, 1, 4};
  const zoq::value_order one{&row, 1, 4};
  const std::vector<float> g = {1, -2, 4, 1e-3f};
  std::vector<float> w(4), state(5);
  // Values of 0 have the size `floor`; the first update is the sign of every gradient.
  adalomo{.rate = 0.5, .floor = 0.25}.apply(exec, one, {}, g.data(), state.data(), w.data());
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(state[1 + i] == g[i] * g[i]);
    CHECK(w[i] == doctest::Approx(g[i] > 0 ? -0.125 : 0.125).epsilon(1e-6));
  }
}

TEST_CASE("adalomo: gradients of rank one are divided by themselves") {
  const zoq::serial exec;
  const zoq::extent matrix{0, 3, 4};
  const zoq::value_order one{&matrix, 1, 12};
  std::vector<float> g, w(12), state(7);
  for (const float a : {1.0f, 2.0f, -3.0f}) {
    for (const float b : {0.5f, -1.0f, 4.0f, 8.0f}) {
      g.push_back(a * b);
    }
  }
  adalomo{.rate = 1, .floor = 1}.apply(exec, one, {}, g.data(), state.data(), w.data());
  for (std::size_t i = 0; i < 12; ++i) {  // factors that are exact, but for roundings of floats
    CHECK(w[i] == doctest::Approx(g[i] > 0 ? -1 : 1).epsilon(1e-6));
  }
}

TEST_CASE("adalomo: gradients of zero, and empty matrices, move nothing") {
  const zoq::serial exec;
  const zoq::extent some[] = {{0, 1, 0}, {0, 2, 2}};
  std::vector<float> g(4), w = {1, 2, 3, 4}, state(5);
  adalomo{.rate = 1}.apply(exec, zoq::value_order{some, 2, 4}, {}, g.data(), state.data(),
                           w.data());
  CHECK(w == std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("adalomo: settings that make no sense are refused") {
  const zoq::serial exec;
  const auto error = [&](const adalomo& o) {
    return message_of([&] { o.apply(exec, order, {}, nullptr, nullptr, nullptr); });
  };
  CHECK(error({.rate = -1}) == "adalomo: the rate is -1, wanted a finite number of at least 0");
  CHECK(error({.clip = 0}) == "adalomo: clip is 0, wanted a positive number");
}
