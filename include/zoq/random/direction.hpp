// concept direction: a random field z over the k values, named by a seed.
//
//     auto field = zoq::gaussian{}.at(seed, order);
//     float4v z = field.four(block);    // the elements 4 block ... 4 block + 3
//
// A field is keyed by element, never by thread or loop order. It may look at the order of the
// tensors: a sphere needs the number of values, a low-rank direction the matrix shapes. It may point
// to memory that its direction owns; then it is valid until that direction's next call of `at`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include "zoq/core/config.hpp"

namespace zoq {

/// Four elements of a field.
struct float4v {
  float at[4];  // in order
};

/// One tensor's place among the k values.
struct extent {
  index_t first,  // number of its first value
      rows,       // of the matrix
      columns;    // of the matrix
};

/// Where the k values of a view belong: one extent a tensor. `tensors` is host memory.
struct value_order {
  const extent* tensors = nullptr;  // [count]
  index_t count = 0;                // of tensors
  index_t size = 0;                 // k
  /// [k], in the executor's memory: the element of the field that each value takes; null: its own
  /// number.
  const index_t* key = nullptr;
  bool on_host = true;  // whether loops over the values may read the host's memory
};

template <class F>
concept field = std::is_trivially_copyable_v<F> && requires(const F& f, index_t block) {
  { f.four(block) } -> std::same_as<float4v>;
};

/// z of the values 4 block ... 4 block + 3 of a view of `count` values. With keys, value i takes
/// element key[i] of the field: leaving values out changes nothing for the others.
template <field F>
ZOQ_HD float4v four_of(const F& z, const index_t* key, index_t count, index_t block) {
  if (key == nullptr) {
    return z.four(block);
  }
  float4v out{};
  float4v four{};
  index_t held = -1;  // the block in `four`: neighbours often share one
  for (index_t j = 0; j < 4 && 4 * block + j < count; ++j) {
    const index_t element = key[4 * block + j];
    if (element / 4 != held) {
      held = element / 4;
      four = z.four(held);
    }
    out.at[j] = four.at[element % 4];
  }
  return out;
}

template <class Z>
concept direction = std::copyable<Z> && requires(const Z& z, seed_t seed, value_order order) {
  { Z::name } -> std::convertible_to<std::string_view>;
  { z.at(seed, order) } -> field;
};

}  // namespace zoq
