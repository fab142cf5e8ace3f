// concept view_layout: what the k values of a view mean, and the parts that they become.
//
//     layout.blocks();                         // the k values as named matrices
//     layout.start(exec, values);              // the initial values; all are zero before
//     layout.hand_out(exec, values, out);      // parts of every tensor, in every branch
//
// A layout owns places, shapes and what is frozen, never values: laid_out_view does (laid_out.hpp).
// Values may be a stretch of more: value j of branch b is values.at(b)[j], so layouts nest.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// What a view hands out, with its memory; branch_parts is a view of it.
struct handed_parts {
  std::vector<parts> tensor;             // by tensor number
  std::optional<prompt_part> prompt{};   // before every sequence, or none
  std::vector<prefix_part> prefix = {};  // by layer, or empty

  /// A view of this memory. pairs: whether branches 2 i and 2 i + 1 are opposite.
  [[nodiscard]] branch_parts of(index_t branches, bool pairs) const;
};

/// The concept of this header. A layout that needs a mask to be made again has places(exec) too.
template <class L, class X>
concept view_layout = executor<X> &&
    requires(L& layout, const L& constant, const X& exec, tensor_view<float, 1> start,
             const part_values& values, handed_parts& out) {
  { L::name } -> std::convertible_to<std::string_view>;
  { constant.blocks() } -> std::same_as<const value_blocks&>;
  { constant.tensors() } -> std::convertible_to<index_t>;  // of the model
  constant.start(exec, start);                             // [k], zero before
  layout.hand_out(exec, values, out);
  { constant.byte_count() } -> std::convertible_to<index_t>;
};

/// The mask that a layout was made with, on the host; empty where it has none.
template <executor X, view_layout<X> L>
mask places_of(const X& exec, const L& layout) {
  if constexpr (requires { layout.places(exec); }) {
    return layout.places(exec);
  } else {
    return {};
  }
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY branch_parts handed_parts::of(index_t branches, bool pairs) const {
  return {branches, tensor, pairs, prompt, prefix};
}

}  // namespace zoq

#endif
