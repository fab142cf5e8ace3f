// SPDX-License-Identifier: Apache-2.0
#include "zoq/sparse/tensor_budget.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::index_t;
using zoq::tensor_budget;
using zoq::tensor_count;
using zoq::tensor_score;
using zoq::test::message_of;

namespace {

std::vector<index_t> counts(const std::vector<tensor_score>& tensors, index_t k, double power = 1) {
  std::vector<index_t> out;
  for (const tensor_count& c : tensor_budget(tensors, k, power)) {
    out.push_back(c.count);
  }
  return out;
}

}  // namespace

TEST_CASE(
    "tensor_budget: in proportion to score times entries, whole numbers by largest remainder") {
  const std::vector<tensor_score> two = {{"a", 100, 3}, {"b", 100, 1}};
  CHECK(counts(two, 40) == std::vector<index_t>{30, 10});
  CHECK(counts(two, 41) == std::vector<index_t>{31, 10});  // 30.75 and 10.25
  CHECK(counts(two, 42) == std::vector<index_t>{32, 10});  // 31.5 and 10.5: the first of equals
  CHECK(counts({{"a", 300, 1}, {"b", 100, 1}}, 40) == std::vector<index_t>{30, 10});
  CHECK(counts({{"a", 100, 16}, {"b", 100, 1}}, 50, 0.5) == std::vector<index_t>{40, 10});
  CHECK(counts({{"a", 100, 16}, {"b", 300, 1}}, 40, 0) == std::vector<index_t>{10, 30});
  CHECK(tensor_budget(two, 40)[1].tensor == "b");
}

TEST_CASE(
    "tensor_budget: a full tensor leaves the rest to the others, negative scores count as 0") {
  CHECK(counts({{"a", 10, 100}, {"b", 100, 3}, {"c", 100, 1}}, 50) ==
        std::vector<index_t>{10, 30, 10});
  CHECK(counts({{"a", 10, 1}, {"b", 10, -5}}, 8) == std::vector<index_t>{8, 0});
  CHECK(counts({{"a", 10, 1}, {"b", 10, -5}, {"c", 30, 0}}, 18) == std::vector<index_t>{10, 2, 6});
  CHECK(counts({{"a", 10, 0}, {"b", 30, 0}}, 8) == std::vector<index_t>{2, 6});
  CHECK(counts({{"a", 10, 1}, {"b", 30, 0}}, 40) == std::vector<index_t>{10, 30});
  CHECK(counts({}, 0).empty());
}

TEST_CASE(
    "tensor_budget: the sum is k whatever the scores, and no tensor has more than its entries") {
  for (zoq::seed_t seed = 0; seed < 200; ++seed) {
    std::vector<tensor_score> tensors;
    index_t entries = 0;
    for (index_t t = 0; t < 1 + static_cast<index_t>(seed % 9); ++t) {
      const auto size = static_cast<index_t>(zoq::test::random_word(seed, 2 * t) % 1000 + 1);
      const double score = std::exp(20.0 * zoq::test::random_word(seed, 2 * t + 1) * 0x1p-32 - 10);
      tensors.push_back({std::to_string(t), size, score});
      entries += size;
    }
    for (const index_t k : {index_t{0}, index_t{1}, entries / 3, entries - 1, entries}) {
      const auto got = counts(tensors, k, seed % 2 == 0 ? 1.0 : 0.5);
      index_t sum = 0;
      for (std::size_t t = 0; t < got.size(); ++t) {
        REQUIRE(got[t] >= 0);
        REQUIRE(got[t] <= tensors[t].entries);
        sum += got[t];
      }
      REQUIRE(sum == k);
    }
  }
}

TEST_CASE("tensor_budget: what cannot be shared is refused") {
  const auto error = [](const std::vector<tensor_score>& t, index_t k, double power = 1) {
    return message_of([&] { tensor_budget(t, k, power); });
  };
  CHECK(error({{"a", 10, 1}}, 11) == "tensor budget: 11 of 10 entries");
  CHECK(error({{"a", 10, 1}}, -1) == "tensor budget: -1 of 10 entries");
  CHECK(error({{"a", 10, std::nan("")}}, 1) == "tensor budget: the score of a is nan");
  CHECK(error({{"a", 10, 1}}, 1, -1) == "tensor budget: power -1");
}
