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

// Every scheme of the list, those whose encoder looks at one block at a time and at nothing else, and
// those with scales of f16.
#define ZOQ_TEST_PLAIN_SCHEMES                                                                    \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1, zoq::q5_0, \
      zoq::q5_1, zoq::nf4
#define ZOQ_TEST_SCHEMES \
  ZOQ_TEST_PLAIN_SCHEMES, zoq::q4_k, zoq::q5_k, zoq::q6_k, zoq::lut4, zoq::lut3
#define ZOQ_TEST_BLOCK_SCHEMES \
  zoq::q8_0, zoq::q4_0, zoq::q4_1, zoq::q5_0, zoq::q5_1, zoq::q4_k, zoq::q5_k, zoq::q6_k

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
                   ZOQ_TEST_PLAIN_SCHEMES, zoq::q4_k, zoq::q5_k, zoq::q6_k) {
  const std::vector<float> x = uniform(256 * 4, 1);
  std::vector<typename S::block> one_by_one;
  constexpr std::size_t n = S::block_size > 32 ? std::size_t{S::block_size} : 32;
  for (std::size_t i = 0; i < x.size(); i += n) {
    for (const auto& block : encoded<S>(std::vector<float>(&x[i], &x[i] + n))) {
      one_by_one.push_back(block);
    }
  }
  CHECK(same_blocks<S>(encoded<S>(x), one_by_one));
}

TEST_CASE_TEMPLATE("scheme: the plain encoders take no notice of the importance", S,
                   ZOQ_TEST_PLAIN_SCHEMES) {
  const std::vector<float> x = uniform(32 * 6, 2);
  const std::vector<float> importance = uniform(32 * 6, 3, 0, 1);
  CHECK(same_blocks<S>(encoded<S>(x), encoded<S>(x, importance.data())));
}

TEST_CASE_TEMPLATE("scheme: a power of two goes through to the scale, exactly", S,
                   ZOQ_TEST_SCHEMES) {
  const std::vector<float> x = uniform(256 * 6, 4);
  std::vector<float> larger = x;
  for (float& v : larger) {
    v *= 8;
  }
  std::vector<float> y = through<S>(x);
  for (float& v : y) {
    v *= 8;
  }
  CHECK(through<S>(larger) == y);
}

TEST_CASE_TEMPLATE("scheme: zeros stay zeros", S, ZOQ_TEST_SCHEMES) {
  const std::vector<float> x(256);
  CHECK(through<S>(x) == x);
}

TEST_CASE_TEMPLATE("scheme: values below the smallest scale become zeros, as any finite input", S,
                   ZOQ_TEST_BLOCK_SCHEMES) {
  // A step of a float subnormal has no finite reciprocal: the codes must not come from infinities.
  for (const float size : {1e-30f, 1e-38f, 1e-40f, std::numeric_limits<float>::denorm_min()}) {
    std::vector<float> x(256);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = i % 3 == 0 ? size : i % 3 == 1 ? -size : 0;
    }
    CHECK(through<S>(x) == std::vector<float>(256));
  }
}

TEST_CASE_TEMPLATE("scheme: has a line for lists, its cost and where it comes from", S,
                   ZOQ_TEST_SCHEMES) {
  CHECK_FALSE(S::summary.empty());
  CHECK_FALSE(S::paper.empty());
  CHECK(S::cost.find("a weight") != std::string_view::npos);
}

TEST_CASE_TEMPLATE("scheme: decoded values are their own encoding", S, ZOQ_TEST_SCHEMES) {
  // Of the formats that search for their scales, nearly: another search may end beside the first.
  const std::vector<float> once = through<S>(uniform(256 * 4, 5));
  const std::vector<float> twice = through<S>(once);
  if constexpr (S::block_size == 256) {
    CHECK(relative_to(twice, once) < 2e-3);
  } else if constexpr (requires { S::gguf_file_type; } && S::block_size == 32) {
    CHECK(relative_to(twice, once) < 2e-3);  // the end of the range moves by the scale's rounding
  } else {
    CHECK(twice == once);
  }
}
