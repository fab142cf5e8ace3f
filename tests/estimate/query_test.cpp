// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/query.hpp"

#include <doctest/doctest.h>

#include <type_traits>

// They go into records and over wires as bytes.
static_assert(std::is_trivially_copyable_v<zoq::query>);
static_assert(std::is_trivially_copyable_v<zoq::answer>);
static_assert(std::is_trivially_copyable_v<zoq::term>);

TEST_CASE("query: by default the values as they are, on this batch") {
  constexpr zoq::query q;
  CHECK(q.scale == 0);
  CHECK(q.shape == nullptr);
  CHECK(q.origin == nullptr);
  CHECK(q.batch == zoq::query::this_batch);
  CHECK(zoq::gradient{}.terms.empty());
}
