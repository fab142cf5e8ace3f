// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/direction.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "zoq/random/gaussian.hpp"
#include "zoq/random/rademacher.hpp"

namespace {

// What a direction may do with the order: here, equal values of norm 1 (a sphere's radius).
struct equal_parts {
  static constexpr std::string_view name = "equal_parts";
  struct field_type {
    float value;
    [[nodiscard]] zoq::float4v four(zoq::index_t) const { return {{value, value, value, value}}; }
  };
  [[nodiscard]] static field_type at(zoq::seed_t, const zoq::value_order& order) {
    return {1.0f / static_cast<float>(order.size)};
  }
};

struct remembers {  // a field with memory could depend on the order of its calls
  std::vector<float> seen;
  [[nodiscard]] zoq::float4v four(zoq::index_t) const { return {}; }
};

struct gives_one {
  [[nodiscard]] float four(zoq::index_t) const { return 0; }
};

}  // namespace

static_assert(zoq::direction<equal_parts>);
static_assert(zoq::field<equal_parts::field_type>);
static_assert(!zoq::field<remembers>);
static_assert(!zoq::field<gives_one>);
static_assert(!zoq::direction<int>);

TEST_CASE("direction: a field may look at the order of the values") {
  constexpr zoq::extent tensors[] = {{0, 2, 2}, {3, 4, 4}};
  const zoq::value_order order{tensors, 2, 8};
  CHECK(equal_parts::at(1, order).four(0).at[3] == 0.125f);
}

TEST_CASE_TEMPLATE("direction: excluded values never change the directions of the others", Z,
                   zoq::gaussian, zoq::rademacher) {
  const auto field = Z::at(9, {});
  // A view that leaves out elements 0, 5 to 8 and 11 of 14.
  const std::vector<zoq::index_t> key = {1, 2, 3, 4, 9, 10, 12, 13};
  const auto count = static_cast<zoq::index_t>(key.size());
  for (zoq::index_t i = 0; i < count; ++i) {
    const zoq::index_t element = key[static_cast<std::size_t>(i)];
    CHECK(zoq::four_of(field, key.data(), count, i / 4).at[i % 4] ==
          field.four(element / 4).at[element % 4]);
    CHECK(zoq::four_of(field, nullptr, count, i / 4).at[i % 4] == field.four(i / 4).at[i % 4]);
  }
  // The last block may be short: keys beyond the end are not read.
  CHECK(zoq::four_of(field, key.data(), 6, 1).at[2] == 0.0f);
}
