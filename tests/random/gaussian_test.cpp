// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/gaussian.hpp"
#include "zoq/random/philox.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

using zoq::float4v;
using zoq::gaussian;
using zoq::index_t;

namespace {

std::vector<float> values(zoq::seed_t seed, index_t blocks) {
  std::vector<float> out;
  for (index_t b = 0; b < blocks; ++b) {
    const float4v z = gaussian::at(seed, {}).four(b);
    out.insert(out.end(), z.at, z.at + 4);
  }
  return out;
}

}  // namespace

TEST_CASE(
    "gaussian: Box and Muller's transform of the block's words, to one unit in the last place") {
  // The same formula in long double and complex numbers. Double's own errors (the angle's is the
  // largest, some 1e-16 of 2 pi) reach a float only when they cross a rounding boundary.
  constexpr long double pi = 3.141592653589793238462643383279502884L;
  int wrong = 0, unequal = 0;
  for (index_t block = 0; block < 20000; ++block) {
    const zoq::words4 w = zoq::philox(17, static_cast<std::uint64_t>(block));
    const float4v z = gaussian::at(17, {}).four(block);
    for (int j = 0; j < 4; j += 2) {
      const long double u = (static_cast<long double>(w.at[j]) + 0.5L) / 4294967296.0L;
      const long double v = static_cast<long double>(w.at[j + 1]) / 4294967296.0L;
      const std::complex<long double> wanted = std::polar(std::sqrt(-2 * std::log(u)), 2 * pi * v);
      for (const auto& [found, exact] :
           {std::pair(z.at[j], wanted.real()), std::pair(z.at[j + 1], wanted.imag())}) {
        // Near a zero of sine and cosine the angle's error, 1e-15, is absolute.
        const auto rounded = static_cast<float>(exact);
        const float ulp = std::nextafter(std::fabs(rounded), 10.0f) - std::fabs(rounded);
        unequal += found != rounded;
        wrong += std::fabs(found - rounded) > std::max(ulp, 1e-15f * 7);
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(unequal < 80);  // of 80,000: 1 in 1000 would be an error far beyond double rounding
}

TEST_CASE("gaussian: goldens") {
  // The same transform in another language's doubles, of the words at (1, 0). One float ulp.
  const float4v z = gaussian::at(1, {}).four(0);
  const double wanted[4] = {0.3804007339689839, -0.2962778896864739, -0.24923342413101846,
                            -1.003837251656572};
  for (int j = 0; j < 4; ++j) {
    CHECK(std::fabs(static_cast<double>(z.at[j]) - wanted[j]) <= 0x1p-23 * std::fabs(wanted[j]));
  }
}

TEST_CASE("gaussian: the distribution is normal") {
  std::vector<float> z = values(3, 1 << 14);
  const auto n = static_cast<double>(z.size());
  // Fourth moment 3, with variance (105 - 9) / n.
  double fourth = 0;
  for (const float x : z) {
    fourth += std::pow(static_cast<double>(x), 4) / n;
  }
  CHECK(std::fabs(fourth - 3) < 4 * std::sqrt(96 / n));
  // Kolmogorov and Smirnov's distance: 1.95 / sqrt(n) is exceeded by 1 in 1000 seeds.
  std::sort(z.begin(), z.end());
  double distance = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double cdf = std::erfc(-static_cast<double>(z[i]) / std::sqrt(2.0)) / 2;
    const auto rank = static_cast<double>(i);
    distance = std::max({distance, cdf - rank / n, (rank + 1) / n - cdf});
  }
  CHECK(distance < 1.95 / std::sqrt(n));
  CHECK(std::max(-z.front(), z.back()) <= 6.8f);  // sqrt(2 ln 2^33) = 6.76
}
