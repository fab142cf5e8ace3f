// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/instruction_set.hpp"

#include <doctest/doctest.h>

#include <string>

#include "io/temporary_folder.hpp"

using zoq::instruction_set;
using zoq::supports;
using zoq::test::message_of;

TEST_CASE("instruction_set: by name and back, where the machine has it") {
  for (const auto set : {instruction_set::portable, instruction_set::avx2, instruction_set::avx512,
                         instruction_set::amx}) {
    const std::string name(zoq::name_of(set));
    if (supports(set)) {
      CHECK(zoq::instruction_set_named(name) == set);
    } else {
      CHECK(message_of([&] { zoq::instruction_set_named(name); }) == "this machine has no " + name);
    }
  }
  CHECK(message_of([] { zoq::instruction_set_named("sse9"); }) ==
        "unknown instruction set \"sse9\": portable, avx2, avx512 or amx");
}

TEST_CASE(
    "instruction_set: portable runs anywhere, the best is the last that runs but amx, which is "
    "asked for") {
  CHECK(supports(instruction_set::portable));
  const instruction_set best = zoq::best_instruction_set();
  CHECK(supports(best));
  CHECK(supports(instruction_set::avx512) == (best == instruction_set::avx512));
  // The AVX-512 kernels use AVX2 and FMA too.
  CHECK((!supports(instruction_set::avx512) || supports(instruction_set::avx2)));
  CHECK((!supports(instruction_set::amx) || supports(instruction_set::avx512)));
}
