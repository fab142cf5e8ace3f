// executor cpu: all cores of the machine, the best SIMD variant that it has.
//
//     zoq::cpu exec;                      // every core
//     zoq::cpu exec{{.threads = 2, .products = zoq::compute::bf16}};
//     exec.linear(x, w, y);               // y[r, o] = sum_c x[r, c] w[o, c]
//
// Work is split into disjoint outputs, and every output is computed in an order of its own: any
// number of threads gives the same bits. Products go in fused multiply-adds over the depth in order
// (portable: multiply, then add), so an element errs by at most about C * 2^-24 times sum |x w|;
// bf16 adds 2^-8 times that for the rounding of inputs and weights.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <thread>

#include "zoq/core/config.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/exec/kernels.hpp"
#include "zoq/exec/loops.hpp"
#include "zoq/exec/panel.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

struct cpu_options {
  int threads = 0;  // 0: one for each core
  instruction_set kernels = best_instruction_set();
  compute products = compute::f32;  // of linear layers, forward; the reverse pass is always f32
};

/// Serves one thread at a time: it keeps a workspace.
class cpu : public detail::host_memory {
 public:
  static constexpr std::string_view name = "cpu";

  /// Throws on a negative number of threads, and on kernels that this machine cannot run.
  explicit cpu(cpu_options options = {}) : kernels_(options.kernels), products_(options.products) {
    require(options.threads >= 0, "cpu: ", options.threads, " threads");
    require(supports(kernels_), "cpu: this machine has no ", name_of(kernels_));
    threads_ = options.threads != 0
                   ? options.threads
                   : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    arena_ = std::make_unique<tbb::task_arena>(threads_);
  }

  [[nodiscard]] int threads() const { return threads_; }
  [[nodiscard]] instruction_set kernels() const { return kernels_; }
  [[nodiscard]] compute products() const { return products_; }

  /// f(i) for every i in [0, n), in any order and at the same time. Tiny loops stay on this thread.
  template <class F>
  void for_each(index_t n, const F& f) const {
    const index_t grain = std::max<index_t>(1, n / (8 * threads_));
    split(n, grain, [&](index_t begin, index_t end) {
      if (kernels_ == instruction_set::portable) {
        detail::portable::run_range(f, begin, end);
      } else {  // element loops gain nothing from the wider registers of AVX-512
        detail::avx2::run_range(f, begin, end);
      }
    });
  }

  template <class F>
  [[nodiscard]] double sum(index_t n, const F& f) const {
    return detail::sum_in_chunks(n, f, [&](index_t chunks, const auto& body) {
      split(chunks, 8, [&](index_t begin, index_t end) {
        for (index_t c = begin; c < end; ++c) {
          body(c);
        }
      });
    });
  }

  /// y = x W^T. x: [R, C], w: [O, C], y: [R, O]. 2 R C O operations; W is decoded once.
  void linear(tensor_view<const float, 2> x, const any_packed& w, tensor_view<float, 2> y) const {
    w.visit([&]<class S>(const packed_view<S>& packed) {
      const detail::row_panels<S> source{packed};
      if (products_ == compute::bf16) {
        multiply_bf16(source, x, y);
      } else {
        multiply(source, x, y);
      }
    });
  }

  /// dx = dy W, the reverse of `linear` towards its input. dy: [R, O], w: [O, C], dx: [R, C].
  void linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                       tensor_view<float, 2> dx) const {
    w.visit([&]<class S>(const packed_view<S>& packed) {
      multiply(detail::column_panels<S>{packed}, dy, dx);
    });
  }

  /// dw = dy^T x, the reverse of `linear` towards its weight. dy: [R, O], x: [R, C], dw: [O, C].
  void linear_to_weight(tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
                        tensor_view<float, 2> dw) const {
    const index_t depth = dy.shape[0];
    const index_t outputs = dy.shape[1];
    buffer<float> transposed(dy.size());  // [O, R]
    split(outputs, 64, [&](index_t begin, index_t end) {
      for (index_t o = begin; o < end; ++o) {
        for (index_t r = 0; r < depth; ++r) {
          transposed.data()[o * depth + r] = dy(r, o);
        }
      }
    });
    multiply(detail::dense_panels{x}, transposed.view(outputs, depth), dw);
  }

 private:
  template <class Body>
  void split(index_t n, index_t grain, const Body& body) const {
    if (threads_ == 1 || n <= grain) {
      if (n != 0) {
        body(0, n);
      }
      return;
    }
    arena_->execute([&] {
      tbb::parallel_for(
          tbb::blocked_range<index_t>(0, n, static_cast<std::size_t>(grain)),
          [&](const tbb::blocked_range<index_t>& range) { body(range.begin(), range.end()); });
    });
  }

  // y[r, o] = sum_k a[r, k] w[o, k], the panels of `source` over the threads.
  template <class Source>
  void multiply(const Source& source, tensor_view<const float, 2> a,
                tensor_view<float, 2> y) const {
    switch (kernels_) {
      case instruction_set::portable:
        return multiply_as<detail::portable::f32_products>(source, a.data, a.shape[1], y);
      case instruction_set::avx2:
        return multiply_as<detail::avx2::f32_products>(source, a.data, a.shape[1], y);
      case instruction_set::avx512:
        return multiply_as<detail::avx512::f32_products>(source, a.data, a.shape[1], y);
    }
  }

  // The same with inputs and weights rounded to bf16.
  template <quant_scheme S>
  void multiply_bf16(const detail::row_panels<S>& source, tensor_view<const float, 2> a,
                     tensor_view<float, 2> y) const {
    switch (kernels_) {
      case instruction_set::portable:
        return multiply_rounded<detail::portable::bf16_products>(source, a, y);
      case instruction_set::avx2:
        return multiply_rounded<detail::avx2::bf16_products>(source, a, y);
      case instruction_set::avx512:
        return multiply_rounded<detail::avx512::bf16_products>(source, a, y);
    }
  }

  template <class Products, class Source>
  void multiply_rounded(const Source& source, tensor_view<const float, 2> a,
                        tensor_view<float, 2> y) const {
    const index_t columns = a.shape[1];
    const index_t stride = (columns + Products::columns - 1) / Products::columns;
    inputs_.reserve(a.shape[0] * stride * static_cast<index_t>(sizeof(typename Products::input)));
    auto* rounded = reinterpret_cast<typename Products::input*>(inputs_.data());
    split(a.shape[0], 16, [&](index_t begin, index_t end) {
      for (index_t r = begin; r < end; ++r) {
        Products::round(a.data + r * columns, columns, rounded + r * stride);
      }
    });
    multiply_as<Products>(source, rounded, stride, y);
  }

  template <class Products, class Source>
  void multiply_as(const Source& source, const typename Products::input* a, index_t a_stride,
                   tensor_view<float, 2> y) const {
    const index_t rows = y.shape[0];
    const index_t panels = (source.outputs() + Products::width - 1) / Products::width;
    // Few panels for many threads: split the rows too, and decode a panel once for each part.
    const index_t wanted = threads_ == 1 || panels == 0 ? 1 : (3 * threads_ + panels - 1) / panels;
    const index_t parts = std::clamp<index_t>(wanted, 1, std::max<index_t>(1, rows / 48));
    split(panels * parts, 1, [&](index_t begin, index_t end) {
      for (index_t task = begin; task < end; ++task) {
        const index_t part = task % parts;
        const index_t first = rows * part / parts;
        const index_t count = rows * (part + 1) / parts - first;
        multiply_panel(Products{}, source, task / parts * Products::width, a + first * a_stride,
                       a_stride, count, y.data + first * y.shape[1], y.shape[1]);
      }
    });
  }

  int threads_ = 1;
  instruction_set kernels_;
  compute products_;
  mutable buffer<std::byte> inputs_;  // rounded inputs of the linear layer that runs
  std::unique_ptr<tbb::task_arena> arena_;
};
static_assert(executor<cpu>);

}  // namespace zoq
