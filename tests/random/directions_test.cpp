// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/directions.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <variant>
#include <vector>

#include "io/temporary_folder.hpp"
#include "zoq/core/choice.hpp"

using zoq::float4v;
using zoq::gaussian;
using zoq::index_t;
using zoq::rademacher;
using zoq::seed_t;

namespace {

template <class Z>
std::vector<float> values(seed_t seed, index_t blocks, index_t first = 0) {
  const auto field = Z::at(seed, {});
  std::vector<float> out;
  for (index_t b = first; b < first + blocks; ++b) {
    const float4v z = field.four(b);
    out.insert(out.end(), z.at, z.at + 4);
  }
  return out;
}

double mean_product(const std::vector<float>& a, const std::vector<float>& b, std::size_t shift) {
  double sum = 0;
  for (std::size_t i = shift; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i - shift]);
  }
  return sum / static_cast<double>(a.size() - shift);
}

}  // namespace

TEST_CASE("direction_named: by name and back") {
  std::vector<std::string_view> names = {"gaussian", "rademacher", "sphere", "lozo", "subzero"};
  CHECK(names.size() == std::variant_size_v<zoq::any_direction>);
  for (const std::string_view name : names) {
    CHECK(zoq::name_of(zoq::direction_named(name)) == name);
  }
  CHECK(zoq::test::message_of([] { zoq::direction_named("cauchy"); }) ==
        "unknown direction \"cauchy\": gaussian, rademacher, sphere, lozo, subzero");
}

TEST_CASE_TEMPLATE("directions: keyed by element, whatever the order of the calls", Z, gaussian,
                   rademacher) {
  const auto field = Z::at(42, {});
  const std::vector<float> forward = values<Z>(42, 100);
  for (index_t b = 99; b >= 0; --b) {
    const float4v again = field.four(b);
    CHECK(std::memcmp(again.at, &forward[static_cast<std::size_t>(4 * b)], sizeof again.at) == 0);
  }
  // Nor does it matter where the tensors lie: these directions are of independent elements.
  constexpr zoq::extent tensors[] = {{0, 3, 5}, {7, 2, 2}};
  const float4v other = Z::at(42, {tensors, 2, 11}).four(2);
  CHECK(std::memcmp(other.at, &forward[8], sizeof other.at) == 0);
}

TEST_CASE_TEMPLATE("directions: another seed, another field", Z, gaussian, rademacher) {
  // 128 values: two fields agree by chance with 2^-128.
  for (unsigned bit = 0; bit < 64; ++bit) {
    CHECK(values<Z>(0, 32) != values<Z>(seed_t{1} << bit, 32));
  }
  CHECK(values<Z>(0, 32) != values<Z>(0, 32, 32));
  CHECK(values<Z>(0, 32) != values<Z>(0, 32, index_t{1} << 40));  // far places are not wrapped
}

TEST_CASE_TEMPLATE("directions: mean 0, variance 1, no correlation", Z, gaussian, rademacher) {
  // For n independent values the mean of the products has a standard deviation of 1 / sqrt(n), that
  // of the squares at most sqrt(2 / n). Bounds are 4 of these; the seeds are fixed.
  const std::vector<float> a = values<Z>(1, 50000);
  const std::vector<float> b = values<Z>(2, 50000);
  const double deviation = 1 / std::sqrt(static_cast<double>(a.size()));
  double sum = 0;
  for (const float z : a) {
    sum += static_cast<double>(z);
  }
  CHECK(std::fabs(sum / static_cast<double>(a.size())) < 4 * deviation);
  CHECK(std::fabs(mean_product(a, a, 0) - 1) < 4 * std::sqrt(2.0) * deviation);
  for (const std::size_t shift : {1u, 2u, 3u, 4u, 5u, 64u}) {
    CHECK(std::fabs(mean_product(a, a, shift)) < 4 * deviation);
  }
  CHECK(std::fabs(mean_product(a, b, 0)) < 4 * deviation);
}

TEST_CASE_TEMPLATE("directions: E(z z^T) is the identity, so estimates of one probe are unbiased",
                   Z, gaussian, rademacher, zoq::sphere, zoq::lozo, zoq::subzero) {
  // The mean of (a . z) z over seeds and frames is a: (a . z) z_i has a variance of at most
  // (1 + 2/r)^2 (|a|^2 + a_i^2) for rank r (fourth moments of products of r normal pairs), and less
  // without low rank. Bounds are 4 standard deviations of the mean; the seeds are fixed.
  constexpr zoq::extent tensors[] = {{0, 4, 3}, {12, 1, 2}};
  const zoq::value_order order{tensors, 2, 14};
  std::vector<double> a, mean(14);
  double norm2 = 0;
  for (int i = 0; i < 14; ++i) {
    a.push_back(std::sin(1.0 + i));
    norm2 += a.back() * a.back();
  }
  constexpr int seeds = 20000, frame_of = 2;
  Z direction;
  if constexpr (zoq::framed_direction<Z>) {
    direction.rank = 2;
  }
  for (int s = 0; s < seeds; ++s) {
    if constexpr (zoq::framed_direction<Z>) {
      direction.frame = static_cast<seed_t>(s / frame_of);
    }
    const auto field = direction.at(static_cast<seed_t>(s), order);
    std::vector<double> z;
    double slope = 0;
    for (index_t i = 0; i < 14; ++i) {
      z.push_back(static_cast<double>(field.four(i / 4).at[i % 4]));
      slope += a[static_cast<std::size_t>(i)] * z.back();
    }
    for (std::size_t i = 0; i < 14; ++i) {
      mean[i] += slope * z[i] / seeds;
    }
  }
  for (std::size_t i = 0; i < 14; ++i) {
    // Seeds of one frame are not independent: at worst they count once together.
    CHECK(std::fabs(mean[i] - a[i]) < 4 * std::sqrt(4 * (norm2 + a[i] * a[i]) * frame_of / seeds));
  }
}
