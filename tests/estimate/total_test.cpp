// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/total.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::total;
using zoq::test::message_of;

namespace {

std::vector<double> losses(zoq::index_t n) {
  std::vector<double> out;
  for (zoq::index_t i = 0; i < n; ++i) {
    const double u = zoq::test::random_word(1, i) * 0x1p-32;
    out.push_back(20 * u * u - 1);
  }
  return out;
}

total sum_of(const double* from, const double* to) {
  total t;
  for (; from != to; ++from) {
    t.add(*from);
  }
  return t;
}

}  // namespace

TEST_CASE("total: any grouping and any order give the same bits") {
  std::vector<double> all = losses(1000);
  const total wanted = sum_of(all.data(), all.data() + all.size());
  for (const std::size_t part : {1u, 2u, 3u, 16u, 999u}) {
    total t;
    for (std::size_t begin = 0; begin < all.size(); begin += part) {
      const std::size_t end = std::min(all.size(), begin + part);
      t.add(sum_of(all.data() + begin, all.data() + end));
    }
    CHECK(t == wanted);
    std::rotate(all.begin(), all.begin() + static_cast<long>(part), all.end());
    CHECK(sum_of(all.data(), all.data() + all.size()) == wanted);
  }
  CHECK(wanted.weight == 1000);
}

TEST_CASE("total: the mean is exact for multiples of 2^-40, else within half of one") {
  total t;
  t.add(0.75);
  t.add(-2.5);
  t.add(0x1p-40);
  t.add(1);
  CHECK(t.mean() == (0.75 - 2.5 + 0x1p-40 + 1) / 4);
  const std::vector<double> all = losses(1000);
  double sum = 0;
  for (const double l : all) {
    sum += l;
  }
  // Each loss was rounded by at most 2^-41; the double sum errs by 1e-12.
  CHECK(std::fabs(sum_of(all.data(), all.data() + 1000).mean() - sum / 1000) <= 0x1p-41 + 1e-12);
}

TEST_CASE("total: nothing has mean 0, and adds nothing") {
  CHECK(total{}.mean() == 0);
  total t;
  t.add(1.5);
  const total before = t;
  t.add(total{});
  CHECK(t == before);
}

TEST_CASE("total: what is not finite or too large is refused") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  total t;
  const auto error_of = [&](double loss) { return message_of([&] { t.add(loss); }); };
  CHECK(error_of(std::nan("")) == "a loss of nan is not finite or beyond 2^20");
  CHECK(error_of(infinity) == "a loss of inf is not finite or beyond 2^20");
  CHECK(error_of(-infinity) == "a loss of -inf is not finite or beyond 2^20");
  CHECK(error_of(1048577) == "a loss of 1.04858e+06 is not finite or beyond 2^20");
  CHECK(t == total{});
  CHECK(error_of(0x1p20).empty());
  CHECK(error_of(-0x1p20).empty());
}

TEST_CASE("total: a sum of 2^23 or more is refused, of either sign") {
  for (const double largest : {0x1p20, -0x1p20}) {
    total t;
    for (int i = 0; i < 7; ++i) {
      t.add(largest);
    }
    CHECK(t.mean() == largest);
    t.add(largest > 0 ? largest - 0x1p-20 : largest);  // the last that there is room for
    CHECK(message_of([&] { t.add(largest); }) == "a sum of losses overflows");
  }
}
