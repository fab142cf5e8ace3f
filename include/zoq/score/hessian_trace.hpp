// hessian-trace: the curvature of the loss along a matrix, from forward passes alone. Of each matrix
// with n entries, by Hutchinson's estimate with second differences:
//
//     score = (1/n) mean over probes of (L(W + e z) + L(W - e z) - 2 L(W)) / e^2,   z = +-1
//
//     zoq::hessian_trace traces(exec, model.tensors(), loss, {.probes = 8});
//     auto counts = zoq::tensor_budget(traces.of_tensors(), k);
//     auto mask = zoq::top_k(scores, {.per = zoq::scope::tensor, .counts = counts});
//
// It is a score of tensors: it says how many entries each gets, another score says which. For any
// family and executor: `loss` is a function of branch_parts, say the mean of `evaluate`. One probe is
// exact for a diagonal Hessian of a quadratic; else its error is the off-diagonal part. Mean
// eigenvalues as a budget: Dong et al., "HAWQ-V2", arXiv 1911.03852.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/score/moved_tensor.hpp"
#include "zoq/sparse/tensor_budget.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// The probes, and what becomes of the scores.
struct hessian_trace_options {
  int probes = 4;          // for each matrix
  double epsilon = 1e-2;   // of every entry; second differences need more than first ones
  double power = 1;        // of the score in the budget
  std::uint64_t seed = 0;  // of the signs

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("probes", self.probes);
    f("epsilon", self.epsilon);
    f("power", self.power);
    f("seed", self.seed);
  }
};

namespace detail {
/// See hessian_trace::of_tensors.
template <executor X>
std::vector<tensor_score> mean_curvatures(const X& exec, std::span<const model_tensor> tensors,
                                          function_ref<double(const branch_parts&)> loss,
                                          const hessian_trace_options& options,
                                          function_ref<void(index_t, index_t)> progress);
void check(const hessian_trace_options& options);  // throws on settings without sense
}  // namespace detail

/// Loss: double of (const branch_parts&), a branch of the executor's memory.
template <executor X, class Loss>
class hessian_trace {
 public:
  static constexpr std::string_view name = "hessian-trace";
  static constexpr std::string_view summary = "tensors get entries by their mean curvature";
  static constexpr std::string_view paper = "arXiv 1911.03852";
  static constexpr std::string_view cost = "2 forwards a probe and matrix, offsets of one matrix";
  /// Called after each matrix: how many are done, of all.
  using progress_function = std::function<void(index_t done, index_t all)>;

  /// Keeps a reference to the executor; the tensors must outlive it. Throws on settings without sense.
  hessian_trace(
      const X& exec, std::span<const model_tensor> tensors, Loss loss,
      const hessian_trace_options& options = {},
      progress_function progress = [](index_t, index_t) {})
      : exec_(exec),
        tensors_(tensors),
        loss_(std::move(loss)),
        options_(options),
        progress_(std::move(progress)) {
    detail::check(options);
  }

  /// Of every matrix of a linear layer: the mean of the diagonal of its Hessian.
  [[nodiscard]] std::vector<tensor_score> of_tensors() const {
    return detail::mean_curvatures(exec_, tensors_, loss_, options_, progress_);
  }

 private:
  const X& exec_;
  std::span<const model_tensor> tensors_;
  Loss loss_;
  hessian_trace_options options_;
  progress_function progress_;
};

namespace detail {

template <executor X>
std::vector<tensor_score> mean_curvatures(const X& exec, std::span<const model_tensor> tensors,
                                          function_ref<double(const branch_parts&)> loss,
                                          const hessian_trace_options& options,
                                          function_ref<void(index_t, index_t)> progress) {
  std::vector<tensor_score> out;
  moved_tensor<X> moved(exec, tensors);
  const double base = loss(branch_parts{});
  const index_t linear = linear_matrices(tensors);
  const auto epsilon = static_cast<float>(options.epsilon);
  const double square = static_cast<double>(epsilon) * static_cast<double>(epsilon);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (tensors[t].role != tensor_role::linear) {
      continue;
    }
    const index_t n = tensors[t].weight.rows() * tensors[t].weight.columns();
    double sum = 0;
    for (int p = 0; p < options.probes; ++p) {
      const seed_t seed = probe_seed(options.seed, static_cast<index_t>(t), p);
      const double up = loss(moved.to(static_cast<index_t>(t), seed, epsilon));
      const double down = loss(moved.to(static_cast<index_t>(t), seed, -epsilon));
      sum += ((up - base) + (down - base)) / square;
    }
    out.push_back({tensors[t].name, n, sum / options.probes / static_cast<double>(n)});
    progress(static_cast<index_t>(out.size()), linear);
  }
  return out;
}

}  // namespace detail

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void check(const hessian_trace_options& options) {
  require(options.probes > 0, "hessian-trace: ", options.probes, " probes, wanted at least 1");
  require(options.epsilon > 0, "hessian-trace: epsilon is ", options.epsilon,
          ", wanted a positive number");
}

}  // namespace detail

}  // namespace zoq

#endif
