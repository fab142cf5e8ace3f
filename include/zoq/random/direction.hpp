// concept direction: a random field z over the k values, named by a seed.
//
//     auto field = zoq::gaussian{}.at(seed, order);
//     float4v z = field.four(block);    // the elements 4 block ... 4 block + 3
//
// A field is keyed by element, never by thread or loop order. It may look at the order of the
// tensors: a unit sphere needs the number of values, a low-rank direction the matrix shapes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include "zoq/core/config.hpp"

namespace zoq {

struct float4v {
  float at[4];
};

/// One tensor's place among the k values.
struct extent {
  index_t first, rows, columns;
};

/// Where the k values of a view belong: one extent a tensor.
struct value_order {
  const extent* tensors = nullptr;
  index_t count = 0;
  index_t size = 0;  // k
};

template <class F>
concept field = std::is_trivially_copyable_v<F> && requires(const F& f, index_t block) {
  { f.four(block) } -> std::same_as<float4v>;
};

template <class Z>
concept direction = std::is_trivially_copyable_v<Z> &&
    requires(const Z& z, seed_t seed, value_order order) {
  { Z::name } -> std::convertible_to<std::string_view>;
  { z.at(seed, order) } -> field;
};

}  // namespace zoq
