// A new direction: two thirds of its elements are zero.
//
// Its last line: furthest from the gradient: 0\.0\d+
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <iostream>
#include <string_view>
#include <zoq/random/direction.hpp>
#include <zoq/random/philox.hpp>

// sqrt(3) times -1, 0 or 1 with chances 1/6, 2/3 and 1/6, so that E[z z^T] is the identity.
struct ternary {
  static constexpr std::string_view name = "ternary";
  static constexpr std::string_view summary = "elements -s, 0 or +s; two thirds of them are zero";
  static constexpr std::string_view paper = "Achlioptas, J. Comput. Syst. Sci. 66(4), 2003";

  struct field_type {
    zoq::seed_t seed;
    ZOQ_HD zoq::float4v four(zoq::index_t block) const {
      const zoq::words4 w = zoq::philox(seed, static_cast<std::uint64_t>(block));
      zoq::float4v z{};
      for (int j = 0; j < 4; ++j) {
        const std::uint32_t sixth = w.at[j] / 715827883u;  // 0 ... 5
        z.at[j] = sixth == 0 ? -1.7320508f : sixth == 1 ? 1.7320508f : 0.0f;
      }
      return z;
    }
  };

  [[nodiscard]] static field_type at(zoq::seed_t seed, const zoq::value_order&) { return {seed}; }
};
static_assert(zoq::direction<ternary>);

int main() {
  // The mean of (c . z) z over many directions is c: the gradient of the loss c . x.
  constexpr double c[4] = {1, -2, 3, 0.5};
  constexpr int n = 100000;
  double mean[4] = {};
  for (int s = 0; s < n; ++s) {
    const zoq::float4v z = ternary::at(static_cast<zoq::seed_t>(s), {}).four(0);
    double slope = 0;
    for (int j = 0; j < 4; ++j) {
      slope += c[j] * static_cast<double>(z.at[j]);
    }
    for (int j = 0; j < 4; ++j) {
      mean[j] += slope * static_cast<double>(z.at[j]) / n;
    }
  }
  double furthest = 0;
  for (int j = 0; j < 4; ++j) {
    furthest = std::fmax(furthest, std::abs(mean[j] - c[j]));
  }
  std::cout << "furthest from the gradient: " << furthest << "\n";
  return furthest < 0.06 ? 0 : 1;  // five standard deviations of such a mean
}
