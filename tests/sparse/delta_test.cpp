// SPDX-License-Identifier: Apache-2.0
#include "zoq/sparse/delta.hpp"

#include <doctest/doctest.h>

TEST_CASE("delta: places and their values, a value to copy") {
  zoq::delta d;
  CHECK(d.places.count() == 0);
  CHECK(d.values.empty());
  d.places.tensors.push_back({"a", 2, 4, {0, 3}});
  d.values = {0.5f, -0.5f};
  const zoq::delta copy = d;
  CHECK(copy.places.tensors == d.places.tensors);
  CHECK(copy.values == d.values);
}
