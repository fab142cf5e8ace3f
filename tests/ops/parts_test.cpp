// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/parts.hpp"

#include <doctest/doctest.h>

#include <vector>

TEST_CASE("branch_parts: no view means the base alone, else every tensor has its own parts") {
  const zoq::branch_parts none;
  CHECK(none.count == 1);
  CHECK_FALSE(none.on(0).sparse.has_value());
  CHECK_FALSE(none.on(7).sparse.has_value());
  std::vector<zoq::parts> all(3);
  all[1].sparse = zoq::sparse_part{{}, {}, {}, 42};
  const zoq::branch_parts some{2, all};
  CHECK_FALSE(some.on(0).sparse.has_value());
  REQUIRE(some.on(1).sparse.has_value());
  CHECK(some.on(1).sparse->first == 42);
}
