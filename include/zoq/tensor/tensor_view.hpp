// A view of a dense, row-major tensor: a pointer and a shape. Owns nothing, costs nothing to copy.
//
//     tensor_view<const float, 2> x{data, {rows, columns}};   // [R, C]
//     float first = x(0, 0);
//     tensor_view<const float, 1> third = x.row(2);           // [C]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>

#include "zoq/core/config.hpp"

namespace zoq {

template <class T, std::size_t Rank>
struct tensor_view {
  T* data = nullptr;                                   // not owned
  index_t shape[static_cast<std::size_t>(Rank)] = {};  // extents, rows first

  /// Number of elements: the product of the extents.
  [[nodiscard]] ZOQ_HD constexpr index_t size() const {
    index_t n = 1;
    for (const index_t extent : shape) {
      n *= extent;
    }
    return n;
  }

  /// The element at the given indices, one for each dimension. Unchecked.
  template <class... Index>
  requires(sizeof...(Index) == Rank) ZOQ_HD constexpr T& operator()(Index... index) const {
    const index_t at[static_cast<std::size_t>(Rank)] = {static_cast<index_t>(index)...};
    index_t offset = 0;
    for (std::size_t d = 0; d < Rank; ++d) {
      offset = offset * shape[d] + at[d];
    }
    return data[offset];
  }

  /// The sub-tensor at `i` of the first dimension. Unchecked.
  [[nodiscard]] ZOQ_HD constexpr tensor_view<T, Rank - 1> row(index_t i) const requires(Rank > 1) {
    tensor_view<T, Rank - 1> out{data, {}};
    index_t stride = 1;
    for (std::size_t d = 1; d < Rank; ++d) {
      out.shape[d - 1] = shape[d];
      stride *= shape[d];
    }
    out.data += i * stride;
    return out;
  }

  /// `count` sub-tensors of the first dimension, from `first` on. Unchecked.
  [[nodiscard]] ZOQ_HD constexpr tensor_view rows(index_t first, index_t count) const {
    tensor_view out = *this;
    index_t stride = 1;
    for (std::size_t d = 1; d < Rank; ++d) {
      stride *= shape[d];
    }
    out.data += first * stride;
    out.shape[0] = count;
    return out;
  }

  /// A view of mutable elements is a view of constant ones. (A template, as a view of constant elements
  /// has no such conversion, and nvcc says so of every one that is not.)
  template <class Constant>
  requires(!std::is_const_v<T> && std::is_same_v<Constant, const T>)  //
      ZOQ_HD constexpr
      operator tensor_view<Constant, Rank>() const {  // NOLINT(google-explicit-constructor)
    tensor_view<const T, Rank> out{data, {}};
    for (std::size_t d = 0; d < Rank; ++d) {
      out.shape[d] = shape[d];
    }
    return out;
  }
};

}  // namespace zoq
