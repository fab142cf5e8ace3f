// What the products of a linear layer use. Sums end in float; the view's own part is always float.
//
//     f32    inputs and weights as they are
//     bf16   inputs and decoded weights rounded to bfloat16 once, products exact, sums in float
//     i8     inputs and weights rounded to 8 bits, a scale for each 64 of a row; products and their
//            sums over 64 columns exact (portable kernels round inputs alone)
//
// What a policy rounds, it rounds within a row, or within the two rows of a pair of branches (see
// branch_stack): so stacked branches equal sequential ones to the bit.
//
//     zoq::cpu exec{{.products = zoq::compute::bf16}};
//
// Their errors, and what those do to a slope: docs/performance.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq {

/// Policies of the forward products of linear layers.
enum class compute {
  f32,   // inputs and weights as they are
  bf16,  // both rounded to bfloat16
  i8     // both rounded to 8 bits, with a scale for each 64 of a row
};

inline constexpr compute all_computes[] = {compute::f32, compute::bf16, compute::i8};  // in order

/// As options say it.
constexpr std::string_view name_of(compute c) {
  return c == compute::f32 ? "f32" : c == compute::bf16 ? "bf16" : "i8";
}

/// The policy of this name. Throws, naming the choices.
compute compute_named(std::string_view name);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY compute compute_named(std::string_view name) {
  for (const compute c : all_computes) {
    if (name == name_of(c)) {
      return c;
    }
  }
  fail("unknown compute policy \"", name, "\": f32, bf16 or i8");
}

}  // namespace zoq

#endif
