// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/q8_0.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"

using zoq::index_t;
using zoq::q8_0;
using zoq::to_f16;
using namespace zoq::test;

namespace {

// The format from its bytes: a little-endian binary16 and 32 signed bytes.
double value_of(const q8_0::block& block, std::size_t i) {
  unsigned char bytes[34];
  std::memcpy(bytes, &block, 34);
  const auto scale = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8);
  const int code = bytes[2 + i] < 128 ? bytes[2 + i] : bytes[2 + i] - 256;
  return f16_value({scale}) * code;
}

}  // namespace

TEST_CASE("q8_0: decodes any bytes as the format says, bit for bit") {
  const auto blocks = wild_blocks<q8_0>(3000, 1);  // some scales are infinite, NaN or subnormal
  const std::vector<float> y = decoded<q8_0>(blocks);
  int wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    // The product is exact in double and, with 19 bits, in float.
    wrong += !same_number(static_cast<double>(y[i]), value_of(blocks[i / 32], i % 32));
  }
  CHECK(wrong == 0);
}

TEST_CASE("q8_0: a block whose largest code is 127 is its own encoding") {
  // The largest value is then 127 d exactly, and its quotient by 127 is d again.
  auto blocks = random_blocks<q8_0>(500, 2);
  for (auto& b : blocks) {
    b.d.bits &= 0x7fff;
    for (std::int8_t& code : b.q) {
      code = code == -128 ? std::int8_t{-127} : code;
    }
    b.q[b.d.bits % 32] = 127;
  }
  const auto again = encoded<q8_0>(decoded<q8_0>(blocks));
  CHECK(std::memcmp(again.data(), blocks.data(), sizeof(q8_0::block) * blocks.size()) == 0);
}

TEST_CASE("q8_0: errs by half a step") {
  const std::vector<float> x = uniform(32 * 500, 3, -3, 3);
  const auto blocks = encoded<q8_0>(x);
  const std::vector<float> y = decoded<q8_0>(blocks);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Half a step, and the scale's rounding to 11 bits, which counts 127 times at the ends: 2^-11
    // of 127 steps. Float's own rounding is a thousand times smaller: the last term.
    const double step = f16_value(blocks[i / 32].d);
    wrong += std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i])) >
             step * (0.5 + 127 * 0x1p-11 + 1e-4);
  }
  CHECK(wrong == 0);
}

TEST_CASE("q8_0: rounds half away from zero") {
  std::vector<float> x(32);
  x[0] = 127;  // so the step is 1
  x[1] = 0.5f;
  x[2] = -0.5f;
  x[3] = 2.5f;
  x[4] = 1.4990234375f;
  const auto block = encoded<q8_0>(x)[0];
  CHECK(block.q[1] == 1);
  CHECK(block.q[2] == -1);
  CHECK(block.q[3] == 3);
  CHECK(block.q[4] == 1);
}
