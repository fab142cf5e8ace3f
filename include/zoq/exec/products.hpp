// The three products of a linear layer on the CPU: panels over the threads, by the kernels of the
// chosen instruction set.
//
//     detail::product_settings how{all, instruction_set::avx512, compute::bf16, rounded, turned};
//     detail::multiply_forward(how, x, stack, layers);      // y = x W^T for every layer
//
// These are the functions that take longest to compile. A program of many files links zoq::kernels,
// which has them compiled once; what they do is the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "zoq/core/config.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/exec/workers.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/attention_task.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::detail {

struct product_settings {
  const workers& all;
  instruction_set kernels;
  compute products;              // of the forward product
  buffer<std::byte>& workspace;  // rounded inputs
  buffer<float>& turned;         // inputs by columns
};

/// Bytes that the workspaces of a forward product hold: inputs that are rounded, and turned for parts.
struct workspace_bytes {
  index_t rounded, turned;
};
/// Of a product of `rows` rows of each branch.
template <class = void>
workspace_bytes workspace_of(instruction_set kernels, compute products, index_t rows,
                             index_t branches, index_t columns);

// Templates of nothing, so that they may be compiled in one file.

/// y = x W^T and the parts, for all layers. x: [R, C], every w: [O, C], y: [R, O]. R is a multiple of
/// stack.count.
template <class = void>
void multiply_forward(const product_settings& how, tensor_view<const float, 2> x,
                      const branch_stack& stack, std::span<const linear_layer> layers);

/// dx = dy W. dy: [R, O], w: [O, C], dx: [R, C].
template <class = void>
void multiply_to_input(const product_settings& how, tensor_view<const float, 2> dy,
                       const any_packed& w, tensor_view<float, 2> dx);

/// dw = dy^T x. dy: [R, O], x: [R, C], dw: [O, C].
template <class = void>
void multiply_to_weight(const product_settings& how, tensor_view<const float, 2> dy,
                        tensor_view<const float, 2> x, tensor_view<float, 2> dw);

/// Attention of all queries and heads of a task (ops/attention.hpp): blocks of queries that share
/// their keys, over the threads. 4 D operations for each query, head and key that it sees.
template <class = void>
void answer_attention(const workers& all, instruction_set kernels, const attention_task& task);

}  // namespace zoq::detail

#if ZOQ_BODIES

#include <algorithm>

#include "zoq/exec/kernels.hpp"
#include "zoq/exec/panel.hpp"

namespace zoq::detail {

template <class Products>
constexpr index_t panels_of(index_t outputs) {
  return (outputs + Products::width - 1) / Products::width;
}

#if defined(__x86_64__)
using amx_bf16_products = avx512::amx_products<>;
#else
using amx_bf16_products = avx512::bf16_products;
#endif

/// f(Products{}) for the products that these kernels have for a policy.
template <class F>
decltype(auto) with_products(instruction_set kernels, compute products, const F& f) {
  const auto one_of = [&]<class F32, class Bf16, class I8>(F32, Bf16, I8) {
    return products == compute::f32 ? f(F32{}) : products == compute::bf16 ? f(Bf16{}) : f(I8{});
  };
  switch (kernels) {
    case instruction_set::avx2:
      return one_of(avx2::f32_products{}, avx2::bf16_products{}, avx2::i8_products{});
    case instruction_set::avx512:
      return one_of(avx512::f32_products{}, avx512::bf16_products{}, avx512::i8_products{});
    case instruction_set::amx:
      return one_of(avx512::f32_products{}, amx_bf16_products{}, avx512::i8_products{});
    case instruction_set::portable:
      break;
  }
  return one_of(portable::f32_products{}, portable::bf16_products{}, portable::i8_products{});
}

/// Products that round their inputs, and so need them copied.
template <class Products>
concept rounds = requires(const float* x, typename Products::input* out) {
  Products::round(x, index_t{}, out);
};

/// Inputs of a row of `columns` values.
template <class Products>
constexpr index_t inputs_of(index_t columns) {
  return (columns + Products::columns - 1) / Products::columns;
}

/// How `rows` rows of each branch lie when they are turned; no memory yet.
inline turned_rows turned_shape(index_t rows, index_t columns) {
  return {nullptr, (rows + turned_rows::rows - 1) / turned_rows::rows, columns};
}

// y[r, o] = sum_k a[r, k] w[o, k], the panels of `source` over the threads.
template <class Products, class Source>
void multiply_panels(const product_settings& how, const Source& source,
                     tensor_view<const float, 2> a, tensor_view<float, 2> y) {
  const output_rows out{y.data, y.shape[1], y.shape[0], false};
  const index_t panels = panels_of<Products>(source.outputs());
  const index_t parts = parts_of_rows(how.all.count(), panels, y.shape[0]);
  how.all.split(panels * parts, 1, [&](index_t begin, index_t end) {
    for (index_t task = begin; task < end; ++task) {
      multiply_panel(Products{}, source, task / parts * Products::width, a.data, a.shape[1],
                     part_of(task % parts, parts, y.shape[0], false), out, nothing_added{});
    }
  });
}

template <class Source>
void multiply_floats(const product_settings& how, const Source& source,
                     tensor_view<const float, 2> a, tensor_view<float, 2> y) {
  switch (how.kernels) {
    case instruction_set::portable:
      return multiply_panels<portable::f32_products>(how, source, a, y);
    case instruction_set::avx2:
      return multiply_panels<avx2::f32_products>(how, source, a, y);
    case instruction_set::avx512:
    case instruction_set::amx:
      return multiply_panels<avx512::f32_products>(how, source, a, y);
  }
}

// The inputs of a product: as Products takes them, by slots; and turned, where a part needs them.
template <class Products>
struct product_inputs {
  const typename Products::input* a;
  index_t stride;
  turned_rows turned;
};

// Both in one pass, while a row is near. Floats stay where they are.
template <class Products>
product_inputs<Products> prepared(const product_settings& how, tensor_view<const float, 2> x,
                                  const output_rows& order, bool turn) {
  using input = typename Products::input;
  const index_t columns = x.shape[1], stride = inputs_of<Products>(columns);
  const index_t branches = x.shape[0] / order.per_branch;
  turned_rows turned = turned_shape(order.per_branch, columns);
  if (turn) {
    how.turned.reserve(turned.size(branches));
    turned.data = how.turned.data();
  }
  input* a = nullptr;
  if constexpr (rounds<Products>) {
    how.workspace.reserve(x.shape[0] * stride * static_cast<index_t>(sizeof(input)));
    a = reinterpret_cast<input*>(how.workspace.data());
  }
  const index_t together = order.pairs ? 2 : 1;  // branches
  const bool work = turn || rounds<Products>;
  how.all.split(work ? branches / together * turned.blocks : 0, 1, [&](index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      const index_t branch = i / turned.blocks * together, block = i % turned.blocks;
      const index_t first = block * turned_rows::rows;
      const index_t rows = std::min(turned_rows::rows, order.per_branch - first);
      for (index_t b = 0; b < together; ++b) {
        const float* from = x.data + ((branch + b) * order.per_branch + first) * columns;
        if constexpr (rounds<Products>) {
          for (index_t r = 0; r < rows; ++r) {
            const float* row = from + r * columns;
            round_row(Products{}, row, b == 0 ? nullptr : row - order.per_branch * columns, columns,
                      a + order.slot_of(branch + b, first + r) * stride);
          }
        }
        if (turn) {
          turn_rows(Products{}, from, rows, columns, turned.block(branch + b, block));
        }
      }
    }
  });
  if constexpr (rounds<Products>) {
    return {a, stride, turned};
  } else {
    return {x.data, stride, turned};
  }
}

// All panels of all layers over the threads, each finished by the one that multiplied it.
template <class Products>
void multiply_layers(const product_settings& how, tensor_view<const float, 2> x,
                     const branch_stack& stack, std::span<const linear_layer> layers) {
  const index_t rows = x.shape[0];
  if (rows == 0) {
    return;
  }
  const output_rows order{nullptr, 0, rows / stack.count, stack.pairs && rounds<Products>};
  const bool turn = std::any_of(layers.begin(), layers.end(),
                                [](const linear_layer& layer) { return layer.added != nullptr; });
  const product_inputs<Products> in = prepared<Products>(how, x, order, turn);
  index_t panels = 0;
  for (const linear_layer& layer : layers) {
    panels += panels_of<Products>(layer.y.shape[1]);
  }
  const index_t parts = parts_of_rows(how.all.count(), panels, rows);
  how.all.split(panels * parts, 1, [&](index_t begin, index_t end) {
    for (index_t task = begin; task < end; ++task) {
      const slot_range slots = part_of(task % parts, parts, rows, order.pairs);
      const linear_layer* layer = layers.data();
      index_t panel = task / parts;
      for (; panel >= panels_of<Products>(layer->y.shape[1]); ++layer) {
        panel -= panels_of<Products>(layer->y.shape[1]);
      }
      const output_rows y{layer->y.data, layer->y.shape[1], order.per_branch, order.pairs};
      const index_t first = panel * Products::width;
      const auto added = [&](const slot_range& some, float* sums) -> const float* {
        return layer->added == nullptr
                   ? nullptr
                   : sum_part(Products{}, *layer->added, first, in.turned, some, y, sums);
      };
      with_source<row_panels, any_row_panels>(layer->w, [&](const auto& source) {
        multiply_panel(Products{}, source, first, in.a, in.stride, slots, y, added);
      });
    }
  });
}

template <class>
workspace_bytes workspace_of(instruction_set kernels, compute products, index_t rows,
                             index_t branches, index_t columns) {
  const index_t row = with_products(kernels, products, [&]<class Products>(Products) -> index_t {
    return rounds<Products> ? inputs_of<Products>(columns) *
                                  static_cast<index_t>(sizeof(typename Products::input))
                            : 0;
  });
  return {branches * rows * row,
          turned_shape(rows, columns).size(branches) * static_cast<index_t>(sizeof(float))};
}

template <class>
void multiply_forward(const product_settings& how, tensor_view<const float, 2> x,
                      const branch_stack& stack, std::span<const linear_layer> layers) {
  with_products(how.kernels, how.products, [&]<class Products>(Products) {
    multiply_layers<Products>(how, x, stack, layers);
  });
}

template <class>
void multiply_to_input(const product_settings& how, tensor_view<const float, 2> dy,
                       const any_packed& w, tensor_view<float, 2> dx) {
  with_source<column_panels, any_column_panels>(
      w, [&](const auto& source) { multiply_floats(how, source, dy, dx); });
}

template <class>
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

template <class>
void answer_attention(const workers& all, instruction_set kernels, const attention_task& task) {
  const index_t branches = task.q.shape[0] / task.queries;
  const index_t items = branches * portable::runs_of_queries(task) * task.k.shape[1];
  all.split(items, 4, [&](index_t begin, index_t end) {
    for (index_t item = begin; item < end; ++item) {
      switch (kernels) {
        case instruction_set::portable:
          portable::attend(task, item);
          break;
        case instruction_set::avx2:
          avx2::attend(task, item);
          break;
        case instruction_set::avx512:
        case instruction_set::amx:
          avx512::attend(task, item);
          break;
      }
    }
  });
}

}  // namespace zoq::detail

#endif

#ifdef ZOQ_COMPILED_KERNELS
namespace zoq::detail {

ZOQ_COMPILED workspace_bytes workspace_of<>(instruction_set, compute, index_t, index_t, index_t);
ZOQ_COMPILED void multiply_forward<>(const product_settings&, tensor_view<const float, 2>,
                                     const branch_stack&, std::span<const linear_layer>);
ZOQ_COMPILED void multiply_to_input<>(const product_settings&, tensor_view<const float, 2>,
                                      const any_packed&, tensor_view<float, 2>);
ZOQ_COMPILED void multiply_to_weight<>(const product_settings&, tensor_view<const float, 2>,
                                       tensor_view<const float, 2>, tensor_view<float, 2>);
ZOQ_COMPILED void answer_attention<>(const workers&, instruction_set, const attention_task&);

}  // namespace zoq::detail
#endif
