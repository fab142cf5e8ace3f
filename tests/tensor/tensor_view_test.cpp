// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/tensor_view.hpp"

#include <doctest/doctest.h>

#include <type_traits>

using zoq::index_t;
using zoq::tensor_view;

static_assert(std::is_trivially_copyable_v<tensor_view<float, 3>>);
static_assert(std::is_convertible_v<tensor_view<float, 2>, tensor_view<const float, 2>>);
static_assert(!std::is_convertible_v<tensor_view<const float, 2>, tensor_view<float, 2>>);
static_assert(!std::is_invocable_v<tensor_view<float, 2>, index_t>);  // one index a dimension

namespace {
constexpr int numbers[24] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                             12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
constexpr tensor_view<const int, 3> x{numbers, {2, 3, 4}};
}  // namespace

static_assert(x.size() == 24);
static_assert(x(1, 2, 3) == 23 && x(0, 1, 0) == 4);
static_assert(tensor_view<const int, 1>{}.size() == 0);

TEST_CASE("tensor_view: the last index runs fastest") {
  int next = 0;
  for (index_t i = 0; i < 2; ++i) {
    for (index_t j = 0; j < 3; ++j) {
      for (index_t k = 0; k < 4; ++k) {
        CHECK(x(i, j, k) == next++);
      }
    }
  }
}

TEST_CASE("tensor_view: a row is a view of one dimension less") {
  const tensor_view<const int, 2> second = x.row(1);
  CHECK(second.shape[0] == 3);
  CHECK(second.shape[1] == 4);
  CHECK(second(0, 0) == 12);
  const tensor_view<const int, 1> third = second.row(2);
  CHECK(third.shape[0] == 4);
  CHECK(third(0) == 20);
}

TEST_CASE("tensor_view: a run of rows keeps the rank") {
  const auto both = tensor_view<const int, 2>{numbers, {6, 4}}.rows(3, 2);
  CHECK(both.shape[0] == 2);
  CHECK(both.shape[1] == 4);
  CHECK(both(0, 0) == 12);
  CHECK(both(1, 3) == 19);
  CHECK(tensor_view<const int, 1>{numbers, {24}}.rows(5, 3)(2) == 7);
}

TEST_CASE("tensor_view: mutable elements can be written, and read through a constant view") {
  float data[4] = {};
  const tensor_view<float, 2> y{data, {2, 2}};
  y(1, 0) = 3;
  const tensor_view<const float, 2> same = y;
  CHECK(data[2] == 3);
  CHECK(same(1, 0) == 3);
  CHECK(same.shape[1] == 2);
}
