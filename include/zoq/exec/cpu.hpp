// executor cpu: all cores of the machine, the best SIMD variant that it has.
//
//     zoq::cpu exec;                      // every core
//     zoq::cpu exec{{.threads = 2, .products = zoq::compute::bf16}};
//     exec.linear(x, w, y);               // y[r, o] = sum_c x[r, c] w[o, c]
//
// Work is split into disjoint outputs, and every output is computed in an order of its own: any
// number of threads gives the same bits. Products go in fused multiply-adds over the depth in order
// (portable: multiply, then add), so an element errs by at most about C * 2^-24 times sum |x w|;
// bf16 adds 2^-7 times that for the rounding of inputs and weights; i8, for each 64 columns, half a
// step of either: sum |w| max |x| / 254 + sum |x| max |w| / 254 (compute.hpp).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/exec/linear_layer.hpp"
#include "zoq/exec/loops.hpp"
#include "zoq/exec/run_range.hpp"
#include "zoq/exec/workers.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/attention_task.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// By default every core, the best kernels, products in float.
struct cpu_options {
  int threads = 0;                                   // 0: one for each core
  instruction_set kernels = best_instruction_set();  // the machine must have them
  compute products = compute::f32;  // of linear layers, forward; the reverse pass is always f32
};

/// The policy for tuning on these kernels, by an estimator that asks for pairs of opposite points or
/// not (asks_for_pairs): integers for pairs where there are instructions for their dot products (their
/// slopes err by a few percent, docs/performance.md), floats elsewhere. On avx2, where integers gain a
/// third, they are for who names them.
constexpr compute compute_for_tuning(instruction_set kernels, bool pairs) {
  const bool dot = kernels == instruction_set::avx512 || kernels == instruction_set::amx;
  return dot && pairs ? compute::i8 : compute::f32;
}

/// Serves one thread at a time: it keeps a workspace.
class cpu : public detail::host_memory {
 public:
  static constexpr std::string_view name = "cpu";

  /// Throws on a negative number of threads, and on kernels that this machine cannot run.
  explicit cpu(cpu_options options = {});

  [[nodiscard]] int threads() const { return workers_.count(); }      // 1 or more
  [[nodiscard]] instruction_set kernels() const { return kernels_; }  // that run
  [[nodiscard]] compute products() const { return products_; }        // of linear layers, forward

  /// f(i) for every i in [0, n), in any order and at the same time. Tiny loops stay on this thread.
  template <class F>
  void for_each(index_t n, const F& f) const {
    const index_t grain = std::max<index_t>(1, n / (8 * threads()));
    workers_.split(n, grain,
                   [&](index_t begin, index_t end) { detail::run_range(kernels_, f, begin, end); });
  }

  /// The sum of f(i) over [0, n): the bits of any number of threads are the same.
  template <class F>
  [[nodiscard]] double sum(index_t n, const F& f) const {
    return detail::sum_in_chunks(n, f, [&](index_t chunks, const auto& body) {
      workers_.split(chunks, 8, [&](index_t begin, index_t end) {
        for (index_t c = begin; c < end; ++c) {
          body(c);
        }
      });
    });
  }

  /// Attention of all queries and heads of a task (ops/attention.hpp): blocks of queries that share
  /// their keys, over the threads. 4 D operations for each query, head and key that it sees.
  void attention(const attention_task& task) const;

  /// y = x W^T. x: [R, C], w: [O, C], y: [R, O]. 2 R C O operations; W is decoded once.
  void linear(tensor_view<const float, 2> x, const any_packed& w, tensor_view<float, 2> y) const;

  /// The same for layers that share their inputs: x is rounded once, and the panels of all go over
  /// the threads together. Each layer's part comes on top, in float.
  void linear(tensor_view<const float, 2> x, const branch_stack& stack,
              std::span<const linear_layer> layers) const;

  /// y = x W^T of floats, whatever the policy. x: [R, C], w: [O, C], y: [R, O].
  void float_linear(tensor_view<const float, 2> x, tensor_view<const float, 2> w,
                    tensor_view<float, 2> y) const;

  /// dx = dy W, the reverse of `linear` towards its input. dy: [R, O], w: [O, C], dx: [R, C].
  void linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                       tensor_view<float, 2> dx) const;

  /// dw = dy^T x, the reverse of `linear` towards its weight. dy: [R, O], x: [R, C], dw: [O, C].
  void linear_to_weight(tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
                        tensor_view<float, 2> dw) const;

  /// Bytes of the workspaces of linear layers, as far as they have grown.
  [[nodiscard]] index_t byte_count() const {
    return inputs_.byte_count() + turned_.byte_count() + scratch_bytes();
  }

 private:
  static const cpu_options& checked(const cpu_options& options);

  detail::workers workers_;
  instruction_set kernels_;
  compute products_;
  mutable buffer<std::byte> inputs_;  // rounded inputs of the linear layer that runs
  mutable buffer<float> turned_;      // the same as floats, by columns
};
static_assert(executor<cpu>);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"
#include "zoq/exec/products.hpp"

namespace zoq {

ZOQ_BODY const cpu_options& cpu::checked(const cpu_options& options) {
  require(options.threads >= 0, "cpu: ", options.threads, " threads");
  require(supports(options.kernels), "cpu: this machine has no ", name_of(options.kernels));
  return options;
}

ZOQ_BODY cpu::cpu(cpu_options options)
    : workers_(checked(options).threads), kernels_(options.kernels), products_(options.products) {}

ZOQ_BODY void cpu::attention(const attention_task& task) const {
  detail::answer_attention(workers_, kernels_, task);
}

ZOQ_BODY void cpu::linear(tensor_view<const float, 2> x, const any_packed& w,
                          tensor_view<float, 2> y) const {
  const linear_layer layer{w, nullptr, y};
  linear(x, {}, std::span(&layer, 1));
}

ZOQ_BODY void cpu::linear(tensor_view<const float, 2> x, const branch_stack& stack,
                          std::span<const linear_layer> layers) const {
  detail::multiply_forward({workers_, kernels_, products_, inputs_, turned_}, x, stack, layers);
}

ZOQ_BODY void cpu::float_linear(tensor_view<const float, 2> x, tensor_view<const float, 2> w,
                                tensor_view<float, 2> y) const {
  const linear_layer layer{{float_matrix(w.data, w.shape[0], w.shape[1])}, nullptr, y};
  detail::multiply_forward({workers_, kernels_, compute::f32, inputs_, turned_}, x, {},
                           std::span(&layer, 1));
}

ZOQ_BODY void cpu::linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                                   tensor_view<float, 2> dx) const {
  detail::multiply_to_input({workers_, kernels_, products_, inputs_, turned_}, dy, w, dx);
}

ZOQ_BODY void cpu::linear_to_weight(tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
                                    tensor_view<float, 2> dw) const {
  detail::multiply_to_weight({workers_, kernels_, products_, inputs_, turned_}, dy, x, dw);
}

}  // namespace zoq

#endif
