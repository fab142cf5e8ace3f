// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/segment.hpp"

#include <doctest/doctest.h>

#include <type_traits>

static_assert(std::is_trivially_copyable_v<zoq::segment>);  // it is copied to executors as bytes

TEST_CASE("segment: none by default, and without parent") {
  constexpr zoq::segment s;
  CHECK(s.first == 0);
  CHECK(s.count == 0);
  CHECK(s.parent == -1);
  CHECK(s.position == 0);
}
