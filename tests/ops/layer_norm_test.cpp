// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/layer_norm.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"

using zoq::index_t;
using namespace zoq::test;

TEST_CASE_TEMPLATE("layer_norm: the formula, with a gain and a bias for all or for every branch", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 6;
  for (const index_t columns : {1, 7, 16, 17, 64, 576}) {
    for (const index_t gains : {1, 2, 3}) {
      for (const index_t biases : {1, 2}) {
        CAPTURE(columns);
        CAPTURE(gains);
        CAPTURE(biases);
        const float epsilon = 1e-2f;
        const std::vector<float> x = uniform(rows * columns, 1, -1, 3);
        const std::vector<float> gain = uniform(gains * columns, 2);
        const std::vector<float> bias = uniform(biases * columns, 3);
        std::vector<float> y(x.size());
        const auto run = [&](const std::vector<float>& from, std::vector<float>& to) {
          zoq::layer_norm(exec, matrix(from, rows, columns), matrix(gain, gains, columns),
                          matrix(bias, biases, columns), epsilon, matrix(to, rows, columns));
        };
        run(x, y);
        std::vector<double> wanted;
        for (index_t r = 0; r < rows; ++r) {
          double mean = 0, variance = 0;
          for (index_t c = 0; c < columns; ++c) {
            mean += static_cast<double>(x[at(r * columns + c)]) / static_cast<double>(columns);
          }
          for (index_t c = 0; c < columns; ++c) {
            variance += std::pow(static_cast<double>(x[at(r * columns + c)]) - mean, 2) /
                        static_cast<double>(columns);
          }
          const double scale = 1 / std::sqrt(variance + static_cast<double>(epsilon));
          for (index_t c = 0; c < columns; ++c) {
            const auto value = static_cast<double>(x[at(r * columns + c)]);
            const auto by = static_cast<double>(gain[at(r * gains / rows * columns + c)]);
            const auto plus = static_cast<double>(bias[at(r * biases / rows * columns + c)]);
            wanted.push_back((value - mean) * scale * by + plus);
          }
        }
        // Sums of up to 36 terms in 16 lanes, twice; values of size 3.
        CHECK(largest_difference(y, wanted) <= 4e-6);
        std::vector<float> in_place = x;
        run(in_place, in_place);
        CHECK(same_bits(in_place, y));
      }
    }
  }
}

TEST_CASE("layer_norm: a row of one value gives the bias, wrong shapes are refused") {
  const zoq::serial exec;
  const std::vector<float> x(8, 5.0f), gain(4, 2.0f), bias = {1, 2, 3, 4};
  std::vector<float> y(8);
  zoq::layer_norm(exec, matrix(x, 2, 4), matrix(gain, 1, 4), matrix(bias, 1, 4), 1e-5f,
                  matrix(y, 2, 4));
  CHECK(y == std::vector<float>{1, 2, 3, 4, 1, 2, 3, 4});
  CHECK(message_of([&] {
          zoq::layer_norm(exec, matrix(x, 2, 4), matrix(gain, 2, 2), matrix(bias, 1, 4), 1e-5f,
                          matrix(y, 2, 4));
        }) == "layer_norm: x is 2 x 4, gain 2 x 2, bias 1 x 4, y 2 x 4");
}
