// The three products of a linear layer on the CPU: panels over the threads, by the kernels of the
// chosen instruction set.
//
//     detail::product_settings how{all, instruction_set::avx512, compute::bf16, workspace};
//     detail::multiply_forward(how, x, w, y);      // y = x W^T
//
// These are the only functions that take long to compile. A program of many files links zoq::kernels,
// which has them compiled once; what they do is the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include "zoq/core/config.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/exec/kernels.hpp"
#include "zoq/exec/panel.hpp"
#include "zoq/exec/workers.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::detail {

struct product_settings {
  const workers& all;
  instruction_set kernels;
  compute products;              // of the forward product
  buffer<std::byte>& workspace;  // rounded inputs
};

// y[r, o] = sum_k a[r, k] w[o, k], the panels of `source` over the threads.
template <class Products, class Source>
void multiply_panels(const product_settings& how, const Source& source,
                     const typename Products::input* a, index_t a_stride, tensor_view<float, 2> y) {
  const index_t rows = y.shape[0];
  const index_t panels = (source.outputs() + Products::width - 1) / Products::width;
  // Few panels for many threads: split the rows too, and decode a panel once for each part.
  const index_t threads = how.all.count();
  const index_t wanted = threads == 1 || panels == 0 ? 1 : (3 * threads + panels - 1) / panels;
  const index_t parts = std::clamp<index_t>(wanted, 1, std::max<index_t>(1, rows / 48));
  how.all.split(panels * parts, 1, [&](index_t begin, index_t end) {
    for (index_t task = begin; task < end; ++task) {
      const index_t part = task % parts;
      const index_t first = rows * part / parts;
      const index_t count = rows * (part + 1) / parts - first;
      multiply_panel(Products{}, source, task / parts * Products::width, a + first * a_stride,
                     a_stride, count, y.data + first * y.shape[1], y.shape[1]);
    }
  });
}

template <class Products, class Source>
void multiply_rounded(const product_settings& how, const Source& source,
                      tensor_view<const float, 2> a, tensor_view<float, 2> y) {
  using input = typename Products::input;
  const index_t columns = a.shape[1];
  const index_t stride = (columns + Products::columns - 1) / Products::columns;
  how.workspace.reserve(a.shape[0] * stride * static_cast<index_t>(sizeof(input)));
  auto* rounded = reinterpret_cast<input*>(how.workspace.data());
  how.all.split(a.shape[0], 16, [&](index_t begin, index_t end) {
    for (index_t r = begin; r < end; ++r) {
      Products::round(a.data + r * columns, columns, rounded + r * stride);
    }
  });
  multiply_panels<Products>(how, source, rounded, stride, y);
}

template <class Source>
void multiply_floats(const product_settings& how, const Source& source,
                     tensor_view<const float, 2> a, tensor_view<float, 2> y) {
  switch (how.kernels) {
    case instruction_set::portable:
      return multiply_panels<portable::f32_products>(how, source, a.data, a.shape[1], y);
    case instruction_set::avx2:
      return multiply_panels<avx2::f32_products>(how, source, a.data, a.shape[1], y);
    case instruction_set::avx512:
      return multiply_panels<avx512::f32_products>(how, source, a.data, a.shape[1], y);
  }
}

// Templates of nothing, so that they may be compiled in one file.

/// y = x W^T. x: [R, C], w: [O, C], y: [R, O].
template <class = void>
void multiply_forward(const product_settings& how, tensor_view<const float, 2> x,
                      const any_packed& w, tensor_view<float, 2> y) {
  w.visit([&]<class S>(const packed_view<S>& packed) {
    const row_panels<S> source{packed};
    if (how.products == compute::f32) {
      return multiply_floats(how, source, x, y);
    }
    switch (how.kernels) {
      case instruction_set::portable:
        return multiply_rounded<portable::bf16_products>(how, source, x, y);
      case instruction_set::avx2:
        return multiply_rounded<avx2::bf16_products>(how, source, x, y);
      case instruction_set::avx512:
        return multiply_rounded<avx512::bf16_products>(how, source, x, y);
    }
  });
}

/// dx = dy W. dy: [R, O], w: [O, C], dx: [R, C].
template <class = void>
void multiply_to_input(const product_settings& how, tensor_view<const float, 2> dy,
                       const any_packed& w, tensor_view<float, 2> dx) {
  w.visit([&]<class S>(const packed_view<S>& packed) {
    multiply_floats(how, column_panels<S>{packed}, dy, dx);
  });
}

/// dw = dy^T x. dy: [R, O], x: [R, C], dw: [O, C].
template <class = void>
void multiply_to_weight(const product_settings& how, tensor_view<const float, 2> dy,
                        tensor_view<const float, 2> x, tensor_view<float, 2> dw) {
  const index_t depth = dy.shape[0];
  const index_t outputs = dy.shape[1];
  buffer<float> transposed(dy.size());  // [O, R]
  how.all.split(outputs, 64, [&](index_t begin, index_t end) {
    for (index_t o = begin; o < end; ++o) {
      for (index_t r = 0; r < depth; ++r) {
        transposed.data()[o * depth + r] = dy(r, o);
      }
    }
  });
  multiply_floats(how, dense_panels{x}, transposed.view(outputs, depth), dw);
}

#ifdef ZOQ_COMPILED_KERNELS
extern template void multiply_forward<>(const product_settings&, tensor_view<const float, 2>,
                                        const any_packed&, tensor_view<float, 2>);
extern template void multiply_to_input<>(const product_settings&, tensor_view<const float, 2>,
                                         const any_packed&, tensor_view<float, 2>);
extern template void multiply_to_weight<>(const product_settings&, tensor_view<const float, 2>,
                                          tensor_view<const float, 2>, tensor_view<float, 2>);
#endif

}  // namespace zoq::detail
