// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/gains.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/ops/embedding.hpp"

using zoq::index_t;
using namespace zoq::test;

TEST_CASE_TEMPLATE("gains: a branch's gain is (1 + factor) * decoded + offset", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t columns = 96, branches = 3, stride = 2 + 3 + columns;
  const packed_matrix w = pack("bf16", uniform(columns, 1), 1, columns);
  const std::vector<float> base = w.decoded(), values = uniform(branches * stride, 2);
  const zoq::tensor_view<const float, 2> all{values.data(), {branches, stride}};
  std::vector<float> out(at(branches * columns));
  zoq::gains(exec, w.view, {}, branches, matrix(out, branches, columns));
  for (index_t b = 0; b < branches; ++b) {
    CHECK(same_bits(std::vector<float>(out.begin() + b * columns, out.begin() + (b + 1) * columns),
                    base));
  }
  zoq::parts p;
  p.offset = zoq::offset_part{{all, 5}};
  p.factor = zoq::factor_part{32, {all, 2}};
  zoq::gains(exec, w.view, p, branches, matrix(out, branches, columns));
  bool close = true;
  for (index_t i = 0; i < branches * columns; ++i) {
    const float* own = values.data() + i / columns * stride;
    const index_t c = i % columns;
    const double wanted =
        (1 + static_cast<double>(own[2 + c / 32])) * static_cast<double>(base[at(c)]) +
        static_cast<double>(own[5 + c]);
    close = close && std::fabs(static_cast<double>(out[at(i)]) - wanted) <= 3e-7;
  }
  CHECK(close);
}

TEST_CASE("gains: wrong shapes and parts of matrices are refused") {
  const packed_matrix w = pack("f32", uniform(8, 1), 1, 8);
  std::vector<float> out(16);
  CHECK(message_of([&] { zoq::gains(zoq::serial{}, w.view, {}, 3, matrix(out, 2, 8)); }) ==
        "gains: out is 2 x 8 for 3 branches of 1 x 8");
  zoq::parts p;
  p.low_rank = zoq::low_rank_part{};
  CHECK(message_of([&] { zoq::gains(zoq::serial{}, w.view, p, 2, matrix(out, 2, 8)); }) ==
        "gains: sparse or low-rank parts are for matrices");
}

TEST_CASE_TEMPLATE("embed: the rows of a branch's own table", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t vocabulary = 7, columns = 32, branches = 2, stride = vocabulary * columns + 1;
  const std::vector<zoq::token_t> tokens = {6, 0, 6};
  for (const auto format : format_names()) {
    if (columns % zoq::find_format(format)->block_size != 0) {
      continue;
    }
    const packed_matrix table = pack(format, uniform(vocabulary * columns, 1), vocabulary, columns);
    const std::vector<float> base = table.decoded(), values = uniform(branches * stride, 2);
    zoq::parts p;
    p.offset = zoq::offset_part{{{values.data(), {branches, stride}}, 1}};
    std::vector<float> x(at(branches * 3 * columns)), wanted, plain = x;
    zoq::embed(exec, {tokens.data(), {3}}, table.view, p, {.count = branches},
               matrix(x, branches * 3, columns));
    for (index_t b = 0; b < branches; ++b) {
      for (const zoq::token_t t : tokens) {
        for (index_t c = 0; c < columns; ++c) {
          const index_t i = t * columns + c;
          wanted.push_back(base[at(i)] + values[at(b * stride + 1 + i)]);
        }
      }
    }
    CHECK(same_bits(x, wanted));
    zoq::embed(exec, {tokens.data(), {3}}, table.view, zoq::parts{}, {.count = branches},
               matrix(x, branches * 3, columns));
    zoq::embed(exec, {tokens.data(), {3}}, table.view, branches,
               matrix(plain, branches * 3, columns));
    CHECK(same_bits(x, plain));
  }
}
