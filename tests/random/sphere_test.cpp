// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/sphere.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::gaussian;
using zoq::index_t;
using zoq::sphere;

TEST_CASE("sphere: radius sqrt(k), whatever k and seed, along a standard normal vector") {
  for (const index_t k : {1, 2, 3, 4, 5, 11, 64, 1001}) {
    const zoq::extent whole{0, 1, k};
    for (zoq::seed_t seed = 0; seed < 5; ++seed) {
      const auto z = sphere::at(seed, {&whole, 1, k});
      const auto g = gaussian::at(seed, {});
      double squares = 0;
      for (index_t i = 0; i < k; ++i) {
        const auto x = static_cast<double>(z.four(i / 4).at[i % 4]);
        const auto n = static_cast<double>(g.four(i / 4).at[i % 4]);
        squares += x * x;
        CHECK(x == doctest::Approx(n * z.factor).epsilon(1e-7));
      }
      // Floats, and normal numbers that were rounded after their squares were added.
      CHECK(squares == doctest::Approx(static_cast<double>(k)).epsilon(1e-6));
    }
  }
}

TEST_CASE("sphere: values that are left out change the others by one common factor") {
  const std::vector<index_t> key = {1, 2, 3, 7, 8};
  const auto z = sphere::at(3, {nullptr, 0, 5, key.data()});
  double squares = 0;
  for (index_t i = 0; i < 5; ++i) {
    const index_t e = key[static_cast<std::size_t>(i)];
    const auto x = static_cast<double>(zoq::four_of(z, key.data(), 5, i / 4).at[i % 4]);
    const auto n = static_cast<double>(gaussian::at(3, {}).four(e / 4).at[e % 4]);
    CHECK(x == doctest::Approx(n * z.factor).epsilon(1e-7));
    squares += x * x;
  }
  CHECK(squares == doctest::Approx(5).epsilon(1e-6));
}

TEST_CASE("sphere: refused without values, and with keys that the host cannot read") {
  const std::vector<index_t> key(5);
  CHECK(zoq::test::message_of([] { (void)sphere::at(3, {}); }) == "sphere: there are no values");
  CHECK(zoq::test::message_of([&] {
          (void)sphere::at(3, {nullptr, 0, 5, key.data(), false});
        }) == "sphere: the values have keys on a device; use gaussian or rademacher there");
}
