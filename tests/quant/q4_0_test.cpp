// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/q4_0.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"

using zoq::index_t;
using zoq::q4_0;
using namespace zoq::test;

namespace {

// The format from its bytes: a little-endian binary16, then 16 bytes with the codes of values i and
// i + 16.
double value_of(const q4_0::block& block, std::size_t i) {
  unsigned char bytes[18];
  std::memcpy(bytes, &block, 18);
  const auto scale = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8);
  const int pair = bytes[2 + i % 16];
  const int code = i < 16 ? pair % 16 : pair / 16;
  return f16_value({scale}) * (code - 8);
}

}  // namespace

TEST_CASE("q4_0: decodes any bytes as the format says, bit for bit") {
  const auto blocks = wild_blocks<q4_0>(5000, 1);  // some scales are infinite, NaN or subnormal
  const std::vector<float> y = decoded<q4_0>(blocks);
  int wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    // The product is exact in double and, with 15 bits, in float.
    wrong += !same_number(static_cast<double>(y[i]), value_of(blocks[i / 32], i % 32));
  }
  CHECK(wrong == 0);
}

TEST_CASE("q4_0: a block that uses code 0 is its own encoding") {
  // Its largest value is then -8 d exactly, the only one of this magnitude.
  auto blocks = random_blocks<q4_0>(500, 2);
  for (auto& b : blocks) {
    b.q[b.d.bits % 16] &= 0xf0;
  }
  const auto again = encoded<q4_0>(decoded<q4_0>(blocks));
  CHECK(std::memcmp(again.data(), blocks.data(), sizeof(q4_0::block) * blocks.size()) == 0);
}

TEST_CASE("q4_0: errs by half a step, by one beyond the last code") {
  const std::vector<float> x = uniform(32 * 500, 3, -3, 3);
  const auto blocks = encoded<q4_0>(x);
  const std::vector<float> y = decoded<q4_0>(blocks);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Codes run from -8 to 7 steps: values between 7.5 and 8 steps lie beyond the last one. 2^-11
    // of 8 steps comes from the scale's rounding to 11 bits; float's own rounding is the last term.
    const double step = f16_value(blocks[i / 32].d);
    const double error = std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    const bool beyond = static_cast<double>(x[i]) / step > 7.49;
    wrong += error > std::fabs(step) * ((beyond ? 1 : 0.5) + 8 * 0x1p-11 + 1e-4);
  }
  CHECK(wrong == 0);
}

TEST_CASE("q4_0: the value of largest magnitude, of either sign, becomes code 0") {
  for (const float extreme : {-4.0f, 4.0f}) {
    std::vector<float> x = uniform(32, 5);
    x[20] = extreme;
    const auto block = encoded<q4_0>(x)[0];
    CHECK(f16_value(block.d) == static_cast<double>(extreme) / -8);
    CHECK((block.q[4] >> 4) == 0);
    CHECK(decoded<q4_0>({block})[20] == extreme);
  }
}

TEST_CASE("q4_0: half-way between two codes, the value goes up, the far end is the last code") {
  std::vector<float> x(32);
  x[0] = -8;  // so the step is 1
  x[1] = 0.5f;
  x[2] = -0.5f;
  x[3] = -7.5f;
  x[4] = 6.5f;
  x[5] = 7.75f;
  x[6] = 8;  // as large as the first, which counts
  const auto block = encoded<q4_0>(x)[0];
  CHECK(f16_value(block.d) == 1);
  const std::vector<int> wanted = {0, 9, 8, 1, 15, 15, 15, 8};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK((block.q[i] & 15) == wanted[i]);
  }
}
