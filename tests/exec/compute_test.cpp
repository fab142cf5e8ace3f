// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/compute.hpp"

#include <doctest/doctest.h>

#include "io/temporary_folder.hpp"

TEST_CASE("compute: every policy has a name that finds it, an unknown one is an error") {
  for (const zoq::compute c : zoq::all_computes) {
    CHECK(zoq::compute_named(zoq::name_of(c)) == c);
  }
  CHECK(zoq::test::message_of([] { zoq::compute_named("f64"); }) ==
        "unknown compute policy \"f64\": f32, bf16 or i8");
}
