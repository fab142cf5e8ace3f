// What the products of a linear layer use. Sums are always float; the view's own part is always
// float; what a policy rounds, it rounds within a row, so stacked branches equal sequential ones.
//
//     f32    inputs and weights as they are
//     bf16   inputs and decoded weights rounded to bfloat16 once, products exact
//
//     zoq::cpu exec{{.products = zoq::compute::bf16}};
//
// Their errors, and what those do to a slope: docs/performance.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/error.hpp"

namespace zoq {

enum class compute { f32, bf16 };

inline constexpr compute all_computes[] = {compute::f32, compute::bf16};

constexpr std::string_view name_of(compute c) { return c == compute::bf16 ? "bf16" : "f32"; }

/// The policy of this name. Throws, naming the choices.
inline compute compute_named(std::string_view name) {
  for (const compute c : all_computes) {
    if (name == name_of(c)) {
      return c;
    }
  }
  fail("unknown compute policy \"", name, "\": f32 or bf16");
}

}  // namespace zoq
