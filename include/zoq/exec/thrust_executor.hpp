// executor on a Thrust back-end: one template for devices (cuda) and for their test on a CPU (omp).
//
//     using omp = thrust_executor<omp_back>;      // exec/omp.hpp
//     zoq::omp exec{{.products = zoq::compute::bf16}};
//
// A back-end is a struct; all members are const, all pointers in the back-end's memory unless said:
//
//     static constexpr std::string_view name;     // "omp"
//     using space = ...;                          // tensor/buffer.hpp; release waits for work in flight
//     struct options { compute products; index_t slice_bytes; ... };
//     explicit back(const options&);              // throws when there is no such device
//     auto policy() const;                        // Thrust's execution policy, with its stream
//     void upload(const void* host, index_t bytes, void* here);    // `host` may change when it returns
//     void download(const void* here, index_t bytes, void* host);  // waits for all work before it
//     void multiply(const matrix_product<float>&);                 // exec/matrix_product.hpp
//     void multiply(const matrix_product<bf16>&);
//   and, where it has them:
//     void attention(const Task&);                // ops/attention.hpp: all heads and queries
//     static constexpr index_t most_packed_rows;  // up to as many rows of x, instead of decoding:
//     void multiply_packed(tensor_view<const T, 2> x, const packed_view<S>& w, tensor_view<float, 2> y);
//     void run_blocks(index_t blocks, const Task&);  // exec/block.hpp
//     index_t byte_count();                       // of its own workspaces
//
// multiply_packed: y = x W^T, T is float or bf16, and decoded weights are rounded to T.
// Weights stay packed: slices of them are decoded to a workspace that all layers share, and multiplied
// there. Work is queued in order; only download, sum and a workspace that grows wait for it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/exec/loops.hpp"
#include "zoq/exec/matrix_product.hpp"
#include "zoq/exec/thrust_tasks.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// Serves one thread at a time: it keeps workspaces, which grow and are used again.
template <class Back>
class thrust_executor {
 public:
  static constexpr std::string_view name = Back::name;
  using space = typename Back::space;
  using options = typename Back::options;  // the back-end's

  /// Throws what the back-end throws, on a policy that it does not have, and on a slice of no bytes.
  explicit thrust_executor(const options& how = options())
      : back_(checked(how)), products_(how.products), slice_bytes_(how.slice_bytes) {}

  [[nodiscard]] compute products() const { return products_; }  // of linear layers, forward
  [[nodiscard]] const Back& back() const { return back_; }      // for its own members

  /// n zeroed elements in the back-end's memory.
  template <class T>
  [[nodiscard]] buffer<T, space> allocate(index_t n) const {
    return buffer<T, space>(n);
  }
  /// n elements to the back-end's memory. `host` may change when it returns.
  template <class T>
  void upload(const T* host, index_t n, T* here) const {
    if (n != 0) {
      back_.upload(host, n * static_cast<index_t>(sizeof(T)), here);
    }
  }
  /// n elements to the host. Waits for all work before it.
  template <class T>
  void download(const T* here, index_t n, T* host) const {
    if (n != 0) {
      back_.download(here, n * static_cast<index_t>(sizeof(T)), host);
    }
  }

  /// f(i) for every i in [0, n), in any order and at the same time.
  template <class F>
  void for_each(index_t n, const F& f) const {
    if (n > 0) {
      thrust::for_each_n(back_.policy(), thrust::counting_iterator<index_t>(0), n, f);
    }
  }

  /// The sum of f(i) over [0, n), in the order of exec/loops.hpp: serial's bits for the same f.
  template <class F>
  [[nodiscard]] double sum(index_t n, const F& f) const {
    const index_t chunks = detail::chunks_of_sum(n);
    partial_.reserve(chunks);
    for_each(chunks, detail::sum_of_chunk<F>{f, n, partial_.data()});
    std::vector<double> host(static_cast<std::size_t>(chunks));
    download(partial_.data(), chunks, host.data());
    double total = 0;
    for (const double s : host) {
      total += s;
    }
    return total;
  }

  /// y = x W^T. x: [R, C], w: [O, C], y: [R, O]. 2 R C O operations; W is decoded once.
  void linear(tensor_view<const float, 2> x, const any_packed& w, tensor_view<float, 2> y) const {
    const linear_layer layer{w, nullptr, y};
    linear(x, {}, std::span(&layer, 1));
  }

  /// The same for layers that share their inputs: x is rounded once. Each layer's part comes on top,
  /// in float.
  void linear(tensor_view<const float, 2> x, const branch_stack& stack,
              std::span<const linear_layer> layers) const {
    if (x.shape[0] == 0) {
      return;
    }
    const index_t per_branch = x.shape[0] / stack.count;
    if (products_ == compute::bf16) {
      detail::round_inputs round{x.data, nullptr, stack.count, per_branch * x.shape[1],
                                 stack.pairs};
      rounded_.reserve(round.values());
      round.out = rounded_.data();
      for_each(round.items(), round);
      const tensor_view<const bf16, 2> inputs{rounded_.data(), {x.shape[0], x.shape[1]}};
      for (const linear_layer& layer : layers) {
        multiply(inputs, layer.w, layer.y);
        if (stack.pairs) {
          const detail::add_first_of_pairs add{layer.y.data, stack.count,
                                               per_branch * layer.y.shape[1]};
          for_each(add.items(), add);
        }
      }
    } else {
      for (const linear_layer& layer : layers) {
        multiply(x, layer.w, layer.y);
      }
    }
    add_parts(x, stack, layers);
  }

  /// y = x W^T of floats, whatever the policy. x: [R, C], w: [O, C], y: [R, O].
  void float_linear(tensor_view<const float, 2> x, tensor_view<const float, 2> w,
                    tensor_view<float, 2> y) const {
    if (x.shape[0] == 0) {
      return;
    }
    const index_t columns = x.shape[1], outputs = w.shape[0];
    back_.multiply(matrix_product<float>{
        {x.data, columns, 1}, {w.data, columns, 1}, y.data, outputs, x.shape[0], outputs, columns});
  }

  /// n floats for one operation: the next call takes them again. Grows, and stays.
  [[nodiscard]] float* scratch(index_t n) const {
    scratch_.reserve(n);
    return scratch_.data();
  }

  /// dx = dy W, the reverse of `linear` towards its input. dy: [R, O], w: [O, C], dx: [R, C]. Floats,
  /// whatever the policy.
  void linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                       tensor_view<float, 2> dx) const {
    const index_t outputs = dy.shape[1], columns = dx.shape[1];
    w.visit([&]<class S>(const packed_view<S>& packed) {
      const index_t blocks = packed.blocks_per_row();
      const index_t most = most_in_slice<float>(outputs * S::block_size, blocks);
      for (index_t first = 0; first < blocks; first += most) {
        const index_t some = std::min(most, blocks - first);
        const index_t width = some * S::block_size;
        const float* slice = decode<float>(packed, 0, outputs, first, some);
        back_.multiply(matrix_product<float>{{dy.data, outputs, 1},
                                             {slice, 1, width},
                                             dx.data + first * S::block_size,
                                             columns,
                                             dy.shape[0],
                                             width,
                                             outputs});
      }
    });
  }

  /// dw = dy^T x, the reverse of `linear` towards its weight. dy: [R, O], x: [R, C], dw: [O, C].
  void linear_to_weight(tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
                        tensor_view<float, 2> dw) const {
    const index_t outputs = dy.shape[1], columns = x.shape[1];
    back_.multiply(matrix_product<float>{{dy.data, 1, outputs},
                                         {x.data, 1, columns},
                                         dw.data,
                                         columns,
                                         outputs,
                                         columns,
                                         dy.shape[0]});
  }

  /// Attention of all queries and heads of a task (ops/attention.hpp), where the back-end has it.
  template <class Task>
  void attention(const Task& task) const requires requires(const Back& back) {
    back.attention(task);
  }
  { back_.attention(task); }

  /// `blocks` blocks of threads of a task (exec/block.hpp), where the back-end has them.
  template <class Task>
  void run_blocks(index_t blocks, const Task& task) const requires requires(const Back& back) {
    back.run_blocks(blocks, task);
  }
  { back_.run_blocks(blocks, task); }

  /// Bytes of the workspaces, as far as they have grown.
  [[nodiscard]] index_t byte_count() const {
    index_t bytes = partial_.byte_count() + slice_.byte_count() + rounded_.byte_count() +
                    turned_.byte_count() + scratch_.byte_count();
    if constexpr (requires { back_.byte_count(); }) {
      bytes += back_.byte_count();
    }
    return bytes;
  }

 private:
  static const options& checked(const options& how) {
    require(how.products != compute::i8, name, ": products are f32 or bf16, i8 is for CPUs only");
    require(how.slice_bytes > 0, name, ": slices of ", how.slice_bytes, " bytes");
    return how;
  }

  // y = x W^T, by slices of outputs.
  template <class T>
  void multiply(tensor_view<const T, 2> x, const any_packed& w, tensor_view<float, 2> y) const {
    const index_t rows = x.shape[0], columns = x.shape[1], outputs = y.shape[1];
    w.visit([&]<class S>(const packed_view<S>& packed) {
      if constexpr (has_own_kernels<S> && requires { back_.multiply_packed(x, packed, y); }) {
        if (rows <= Back::most_packed_rows) {
          back_.multiply_packed(x, packed, y);
          return;
        }
      }
      const index_t most = most_in_slice<T>(columns, outputs);
      for (index_t first = 0; first < outputs; first += most) {
        const index_t some = std::min(most, outputs - first);
        const T* slice = decode<T>(packed, first, some, 0, packed.blocks_per_row());
        back_.multiply(matrix_product<T>{{x.data, columns, 1},
                                         {slice, columns, 1},
                                         y.data + first,
                                         outputs,
                                         rows,
                                         some,
                                         columns});
      }
    });
  }

  // How many of `count` lines of n values a slice takes.
  template <class T>
  [[nodiscard]] index_t most_in_slice(index_t n, index_t count) const {
    return detail::lines_in_slice(slice_bytes_, n * static_cast<index_t>(sizeof(T)), count);
  }

  // Rows [row, row + rows), blocks [block, block + blocks) of each, in the workspace.
  template <class T, quant_scheme S>
  const T* decode(const packed_view<S>& w, index_t row, index_t rows, index_t block,
                  index_t blocks) const {
    slice_.reserve(rows * blocks * S::block_size * static_cast<index_t>(sizeof(T)));
    T* slice = reinterpret_cast<T*>(slice_.data());
    const detail::decode_slice<S, T> task{w, row, rows, block, blocks, slice};
    for_each(task.items(), task);
    return slice;
  }

  void add_parts(tensor_view<const float, 2> x, const branch_stack& stack,
                 std::span<const linear_layer> layers) const {
    detail::turn_inputs turn{x.data, nullptr, stack.count, x.shape[0] / stack.count, x.shape[1]};
    for (const linear_layer& layer : layers) {
      if (layer.added == nullptr) {
        continue;
      }
      if (turn.turned == nullptr) {  // once for all layers
        turned_.reserve(turn.items());
        turn.turned = turned_.data();
        for_each(turn.items(), turn);
      }
      const detail::add_part add{*layer.added, turn, layer.y};
      for_each(add.items(), add);
    }
  }

  Back back_;
  compute products_;
  index_t slice_bytes_;
  mutable buffer<double, space> partial_;   // [chunks] of a sum
  mutable buffer<std::byte, space> slice_;  // decoded weights of the product that runs
  mutable buffer<bf16, space> rounded_;     // [R, C] inputs of the layers that run
  mutable buffer<float, space> turned_;     // the same by columns, for parts
  mutable buffer<float, space> scratch_;    // of one operation
};

}  // namespace zoq
