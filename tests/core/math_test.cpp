// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/math.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "random_values.hpp"

using zoq::exp_f32;
using zoq::index_t;
using zoq::lanes;

namespace {

double relative_error(float x) {
  const double wanted = std::exp(static_cast<double>(x));
  return std::fabs(static_cast<double>(exp_f32(x)) - wanted) / wanted;
}

// Numbers of 12 bits: their products are exact in float, so that a fused multiply-add and a
// multiply followed by an add give the same bits.
std::vector<float> short_numbers(index_t n, zoq::seed_t seed) {
  std::vector<float> x = zoq::test::whole_numbers(n, seed, 4095);
  for (float& v : x) {
    v *= 0x1p-9f;
  }
  return x;
}

}  // namespace

TEST_CASE("pick: either value, whatever its bits") {
  CHECK(zoq::pick(true, 1.0f, 2.0f) == 1.0f);
  CHECK(zoq::pick(false, 1.0f, 2.0f) == 2.0f);
  CHECK(std::isnan(zoq::pick(true, std::numeric_limits<float>::quiet_NaN(), 2.0f)));
  CHECK(std::signbit(zoq::pick(false, 1.0f, -0.0f)));
}

TEST_CASE("exp_f32: exact at 0, and clamped outside its range") {
  CHECK(exp_f32(0.0f) == 1.0f);
  CHECK(exp_f32(-0.0f) == 1.0f);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  CHECK(exp_f32(-87.5f) == exp_f32(-87.0f));
  CHECK(exp_f32(-infinity) == exp_f32(-87.0f));
  CHECK(exp_f32(88.5f) == exp_f32(88.0f));
  CHECK(exp_f32(infinity) == exp_f32(88.0f));
  CHECK(std::isfinite(exp_f32(88.0f)));
  CHECK(exp_f32(-87.0f) >= std::numeric_limits<float>::min());
}

TEST_CASE("exp_f32: NaN stays NaN") {
  CHECK(std::isnan(exp_f32(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(exp_f32(-std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("exp_f32: relative error of at most 2^-22 in (-87, 88)") {
  double worst = 0;
  for (index_t i = -87 * 16384; i <= 88 * 16384; ++i) {  // exact floats, 2^-14 apart
    worst = std::max(worst, relative_error(static_cast<float>(i) * 0x1p-14f));
  }
  // Where the reduction changes its whole number n: |r| is largest there.
  for (int n = -125; n <= 126; ++n) {
    float x = static_cast<float>((n + 0.5) * 0.6931471805599453);
    for (int i = 0; i < 8; ++i, x = std::nextafter(x, 100.0f)) {
      worst = std::max(worst, relative_error(x));
    }
  }
  // Around 0, down to the subnormals.
  for (float x = 1.0f; x > 0; x /= 2) {
    worst = std::max({worst, relative_error(x), relative_error(-x)});
  }
  CHECK(worst <= 0x1p-22);
}

TEST_CASE("sum_of_lanes: a balanced tree") {
  std::vector<float> x = zoq::test::uniform(lanes, 1, 0, 1e6);
  x[3] = 1e-3f;  // so that the order shows in the bits
  std::vector<float> level = x;
  while (level.size() > 1) {
    std::vector<float> above(level.size() / 2);
    for (std::size_t i = 0; i < above.size(); ++i) {
      above[i] = level[i] + level[i + above.size()];
    }
    level = above;
  }
  CHECK(zoq::sum_of_lanes(x.data()) == level[0]);
}

TEST_CASE("dot_lanes: exact on whole numbers, for every length") {
  for (index_t n = 0; n <= 70; ++n) {
    const std::vector<float> a = zoq::test::whole_numbers(n, 1, 100);
    const std::vector<float> b = zoq::test::whole_numbers(n, 2, 100);
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    }
    CHECK(static_cast<double>(zoq::dot_lanes(a.data(), b.data(), n)) == sum);
  }
}

TEST_CASE("dot_lanes: element i is added to lane i mod 16, the lanes by their tree") {
  for (const index_t n : {1, 15, 16, 17, 100, 1000}) {
    const std::vector<float> a = short_numbers(n, 3);
    const std::vector<float> b = short_numbers(n, 4);
    std::vector<float> partial(static_cast<std::size_t>(lanes));
    for (std::size_t i = 0; i < a.size(); ++i) {
      partial[i % partial.size()] += a[i] * b[i];
    }
    CHECK(zoq::dot_lanes(a.data(), b.data(), n) == zoq::sum_of_lanes(partial.data()));
  }
}
