// What holds for every scheme.
//
// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/scheme.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"
#include "zoq/quant/formats.hpp"

using namespace zoq::test;
using zoq::index_t;

#define ZOQ_TEST_SCHEMES \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1
#define ZOQ_TEST_BLOCK_SCHEMES zoq::q8_0, zoq::q4_0, zoq::q4_1

namespace {

struct with_state {  // a scheme is a name for functions: it holds nothing
  int state;
};

template <zoq::quant_scheme S>
bool same_blocks(const std::vector<typename S::block>& a, const std::vector<typename S::block>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(typename S::block)) == 0;
}

}  // namespace

static_assert(!zoq::quant_scheme<int>);
static_assert(!zoq::quant_scheme<with_state>);

TEST_CASE_TEMPLATE("scheme: a row is encoded block by block, whatever lies beside it", S,
                   ZOQ_TEST_SCHEMES) {
  const std::vector<float> x = uniform(32 * 20, 1);
  std::vector<typename S::block> one_by_one;
  for (std::size_t i = 0; i < x.size(); i += 32) {
    for (const auto& block : encoded<S>(std::vector<float>(&x[i], &x[i] + 32))) {
      one_by_one.push_back(block);
    }
  }
  CHECK(same_blocks<S>(encoded<S>(x), one_by_one));
}

TEST_CASE_TEMPLATE("scheme: the plain encoders take no notice of the importance", S,
                   ZOQ_TEST_SCHEMES) {
  const std::vector<float> x = uniform(32 * 5, 2);
  const std::vector<float> importance = uniform(32 * 5, 3, 0, 1);
  CHECK(same_blocks<S>(encoded<S>(x), encoded<S>(x, importance.data())));
}

TEST_CASE_TEMPLATE("scheme: a power of two goes through to the scale, exactly", S,
                   ZOQ_TEST_SCHEMES) {
  const std::vector<float> x = uniform(32 * 50, 4);
  std::vector<float> larger = x;
  for (float& v : larger) {
    v *= 8;
  }
  std::vector<float> y = decoded<S>(encoded<S>(x));
  for (float& v : y) {
    v *= 8;
  }
  CHECK(decoded<S>(encoded<S>(larger)) == y);
}

TEST_CASE_TEMPLATE("scheme: zeros stay zeros", S, ZOQ_TEST_SCHEMES) {
  const std::vector<float> x(64);
  CHECK(decoded<S>(encoded<S>(x)) == x);
}

TEST_CASE_TEMPLATE("scheme: values below the smallest scale become zeros, as any finite input", S,
                   ZOQ_TEST_BLOCK_SCHEMES) {
  // A step of a float subnormal has no finite reciprocal: the codes must not come from infinities.
  for (const float size : {1e-30f, 1e-38f, 1e-40f, std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> x(32);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = i % 3 == 0 ? size : i % 3 == 1 ? -size : 0;
    }
    const std::vector<float> y = decoded<S>(encoded<S>(x));
    CHECK(y == std::vector<float>(32));
  }
}
