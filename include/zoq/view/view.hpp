// concept parameter_view: k trainable float values, and what they add to which tensors of a model.
//
//     view.move_to(exec, direction, queries);    // branch b is at origin + scale * shape * z(seed)
//     pass.score(batch, view.branches(), scores);
//
// A view owns its values and the parts that it hands out; operations own the arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/random/direction.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

template <class V, class X>
concept parameter_view = executor<X> &&
    requires(V& view, const V& constant, const X& exec, std::span<const query> asked,
             const any_direction& direction) {
  { V::name } -> std::convertible_to<std::string_view>;
  { constant.order() } -> std::same_as<value_order>;
  { view.values() } -> std::same_as<tensor_view<float, 1>>;  // [k], in the executor's memory
  { view.move_to(exec, direction, asked) } -> std::same_as<void>;
  { view.move_to_values(exec) } -> std::same_as<void>;  // one branch: the values as they are
  { constant.branches() } -> std::same_as<branch_parts>;
  { constant.byte_count() } -> std::convertible_to<index_t>;
};

}  // namespace zoq
