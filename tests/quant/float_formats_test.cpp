// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/float_formats.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"

using namespace zoq::test;
using zoq::bf16_format;
using zoq::f16_format;
using zoq::f32_format;

TEST_CASE("f32_format: is the floats") {
  const std::vector<float> x = uniform(100, 1);
  CHECK(decoded<f32_format>(encoded<f32_format>(x)) == x);
  static_assert(sizeof(f32_format::block) == 4);
}

TEST_CASE_TEMPLATE("float formats: one value a block, rounded as core/half.hpp rounds", S,
                   f16_format, bf16_format) {
  static_assert(sizeof(typename S::block) == 2 && S::block_size == 1);
  const std::vector<float> x = uniform(5000, 1, -100, 100);
  const auto blocks = encoded<S>(x);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    float y = 0;
    S::decode({}, blocks[i], &y);
    if constexpr (std::is_same_v<S, f16_format>) {
      wrong += blocks[i].value.bits != zoq::to_f16(x[i]).bits;
    } else {
      wrong += blocks[i].value.bits != zoq::to_bf16(x[i]).bits;
    }
    wrong += y != to_float(blocks[i].value);
  }
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("float formats: all values are their own encoding", S, f32_format, f16_format,
                   bf16_format) {
  std::vector<typename S::block> blocks;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    typename S::block block{};
    const auto pattern = static_cast<std::uint16_t>(bits);
    // The upper half where the format has two: signs and exponents lie there.
    std::memcpy(reinterpret_cast<unsigned char*>(&block) + sizeof block - 2, &pattern, 2);
    float y = 0;
    S::decode({}, block, &y);
    if (y == y) {
      blocks.push_back(block);
    }
  }
  const auto again = encoded<S>(decoded<S>(blocks));
  CHECK(std::memcmp(again.data(), blocks.data(), sizeof(typename S::block) * blocks.size()) == 0);
}
