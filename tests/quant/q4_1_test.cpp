// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/q4_1.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"

using zoq::index_t;
using zoq::q4_1;
using namespace zoq::test;

namespace {

// The format from its bytes: two little-endian binary16, then 16 bytes with the codes of values i
// and i + 16. Product and sum are exact in double: multiples of 2^-24 below 2^20. So there is one
// rounding, to float, as in the decoder, whose product is exact.
double value_of(const q4_1::block& block, std::size_t i) {
  unsigned char bytes[20];
  std::memcpy(bytes, &block, 20);
  const auto scale = static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8);
  const auto minimum = static_cast<std::uint16_t>(bytes[2] | bytes[3] << 8);
  const int pair = bytes[4 + i % 16];
  const int code = i < 16 ? pair % 16 : pair / 16;
  return f16_value({scale}) * code + f16_value({minimum});
}

}  // namespace

TEST_CASE("q4_1: decodes any bytes as the format says, bit for bit") {
  const auto blocks = wild_blocks<q4_1>(5000, 1);  // some scales are infinite, NaN or subnormal
  const std::vector<float> y = decoded<q4_1>(blocks);
  int wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double wanted = static_cast<double>(static_cast<float>(value_of(blocks[i / 32], i % 32)));
    wrong += !same_number(static_cast<double>(y[i]), wanted);
  }
  CHECK(wrong == 0);
}

TEST_CASE("q4_1: a block that uses codes 0 and 15 is its own encoding") {
  // With scale and minimum of like size all decoded values are exact, and so is their range, 15 d.
  auto blocks = random_blocks<q4_1>(500, 2);
  for (auto& b : blocks) {
    b.d.bits &= 0x7fff;
    b.q[b.d.bits % 16] = 0xf0;
  }
  const auto again = encoded<q4_1>(decoded<q4_1>(blocks));
  CHECK(std::memcmp(again.data(), blocks.data(), sizeof(q4_1::block) * blocks.size()) == 0);
}

TEST_CASE("q4_1: errs by half a step") {
  const std::vector<float> x = uniform(32 * 500, 3, -1, 5);
  const auto blocks = encoded<q4_1>(x);
  const std::vector<float> y = decoded<q4_1>(blocks);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Half a step; scale and minimum are rounded to 11 bits, so 2^-11 of 15 steps and of the
    // minimum; float's own rounding is the last term.
    const double step = f16_value(blocks[i / 32].d);
    const double minimum = f16_value(blocks[i / 32].m);
    const double error = std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    wrong += error > step * (0.5 + 15 * 0x1p-11 + 1e-4) + std::fabs(minimum) * 0x1p-11;
  }
  CHECK(wrong == 0);
}

TEST_CASE("q4_1: the smallest value is code 0, the largest code 15") {
  std::vector<float> x = uniform(32, 5);
  x[3] = -2;
  x[20] = 5.5f;
  const auto block = encoded<q4_1>(x)[0];
  CHECK(f16_value(block.d) == 0.5);
  CHECK(f16_value(block.m) == -2);
  CHECK((block.q[3] & 15) == 0);
  CHECK((block.q[4] >> 4) == 15);
}

TEST_CASE("q4_1: a block of equal values is exact") {
  const std::vector<float> x(32, 0.75f);
  CHECK(decoded<q4_1>(encoded<q4_1>(x)) == x);
}

TEST_CASE("q4_1: half-way between two codes, the value goes up") {
  std::vector<float> x(32);
  x[31] = 15;  // so the step is 1
  x[1] = 0.5f;
  x[2] = 2.5f;
  x[3] = 14.5f;
  x[4] = 14.25f;
  const auto block = encoded<q4_1>(x)[0];
  CHECK(f16_value(block.d) == 1);
  CHECK(f16_value(block.m) == 0);
  const std::vector<int> wanted = {0, 1, 3, 15, 14};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK((block.q[i] & 15) == wanted[i]);
  }
}
