// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/embedding.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"

using zoq::index_t;
using namespace zoq::test;

TEST_CASE_TEMPLATE("embed: the decoded rows of the tokens to the bit, in every format and branch",
                   X, ZOQ_TEST_EXECUTORS) {
  constexpr index_t vocabulary = 11, columns = 64, branches = 3;
  const std::vector<zoq::token_t> tokens = {10, 0, 3, 3};
  const auto count = static_cast<index_t>(tokens.size());
  for (const auto format : format_names()) {
    CAPTURE(format);
    const packed_matrix table = pack(format, uniform(vocabulary * columns, 1), vocabulary, columns);
    const std::vector<float> decoded = table.decoded();
    std::vector<float> x(at(branches * count * columns), -1.0f), wanted;
    zoq::embed(X{}, {tokens.data(), {count}}, table.view, branches,
               matrix(x, branches * count, columns));
    for (index_t b = 0; b < branches; ++b) {
      for (const auto t : tokens) {
        wanted.insert(wanted.end(), decoded.begin() + t * columns,
                      decoded.begin() + (t + 1) * columns);
      }
    }
    CHECK(same_bits(x, wanted));
  }
}

TEST_CASE("embed: wrong shapes are refused") {
  const packed_matrix table = pack("f32", uniform(8, 1), 2, 4);
  const std::vector<zoq::token_t> tokens = {0, 1};
  std::vector<float> x(16);
  const auto error = [&](index_t branches, index_t rows, index_t columns) {
    return message_of([&] {
      zoq::embed(zoq::serial{}, {tokens.data(), {2}}, table.view, branches,
                 matrix(x, rows, columns));
    });
  };
  CHECK(error(1, 2, 3) == "embed: x is 2 x 3 for 2 tokens of 1 branches and rows of 4");
  CHECK(error(2, 3, 4) == "embed: x is 3 x 4 for 2 tokens of 2 branches and rows of 4");
}
