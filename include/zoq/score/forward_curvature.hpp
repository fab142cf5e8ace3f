// forward-curvature: squared gradients, estimated from forward passes alone. Of each matrix, with P
// probes of signs z_p and slopes s_p = (L(W + e z_p) - L(W - e z_p)) / 2e:
//
//     g[i] = (1/P) sum_p s_p z_p[i]
//     score[i] = (P g[i]^2 - (1/P) sum_p s_p^2) / (P - 1)
//
//     zoq::forward_curvature score(exec, model.tensors(), loss, {.probes = 1000});
//     auto mask = zoq::top_k(score, {.density = 0.001});
//
// The expectation is the squared gradient of the mean loss (fisher's square_of_mean), so scores near 0
// may be below it. It is noisy: g[i] errs by |g| / sqrt(P), with |g| the gradient of the whole matrix. An
// entry is found when P exceeds some 2 log(n) |g|^2 / g[i]^2: hundreds of probes where a few entries of
// small matrices hold the gradient, many thousands in a real model. For families without a reverse pass,
// and where one does not fit. Any family and executor; `loss` as in hessian_trace.hpp. The estimate
// is that of SPSA: Malladi et al., "MeZO", arXiv 2305.17333.
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
#include "zoq/model/reverse_groups.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/score/moved_tensor.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// The probes of every matrix.
struct forward_curvature_options {
  int probes = 256;        // for each matrix
  double epsilon = 1e-3;   // of every entry
  std::uint64_t seed = 0;  // of their signs

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("probes", self.probes);
    f("epsilon", self.epsilon);
    f("seed", self.seed);
  }
};

namespace detail {
/// See forward_curvature::visit.
template <executor X>
void visit_curvatures(const X& exec, std::span<const model_tensor> tensors,
                      function_ref<double(const branch_parts&)> loss,
                      const forward_curvature_options& options,
                      function_ref<void(index_t, index_t)> progress, gradient_visitor visit);
void check(const forward_curvature_options& options);  // throws on settings without sense
}  // namespace detail

/// Loss: double of (const branch_parts&), a branch of the executor's memory.
template <executor X, class Loss>
class forward_curvature {
 public:
  static constexpr std::string_view name = "forward-curvature";
  static constexpr std::string_view summary =
      "squared gradients from random probes, no reverse pass";
  static constexpr std::string_view paper = "arXiv 2305.17333";
  static constexpr std::string_view cost =
      "2 forwards a probe and matrix; offsets and sums of one matrix";
  /// Called after each probe of each matrix: how many are done, of all.
  using progress_function = std::function<void(index_t done, index_t all)>;

  /// Keeps a reference to the executor; the tensors must outlive it. Throws on settings without sense.
  forward_curvature(
      const X& exec, std::span<const model_tensor> tensors, Loss loss,
      const forward_curvature_options& options = {},
      progress_function progress = [](index_t, index_t) {})
      : exec_(exec),
        tensors_(tensors),
        loss_(std::move(loss)),
        options_(options),
        progress_(std::move(progress)) {
    detail::check(options);
  }

  /// Weights of linear layers: as many as there are scores.
  [[nodiscard]] index_t entries() const { return linear_weights(tensors_); }

  /// Calls visit(tensor name, rows, columns, scores) for every matrix of a linear layer.
  void visit(gradient_visitor visit) const {
    detail::visit_curvatures(exec_, tensors_, loss_, options_, progress_, visit);
  }

 private:
  const X& exec_;
  std::span<const model_tensor> tensors_;
  Loss loss_;
  forward_curvature_options options_;
  progress_function progress_;
};

namespace detail {

template <executor X>
void visit_curvatures(const X& exec, std::span<const model_tensor> tensors,
                      function_ref<double(const branch_parts&)> loss,
                      const forward_curvature_options& options,
                      function_ref<void(index_t, index_t)> progress, gradient_visitor visit) {
  moved_tensor<X> moved(exec, tensors);
  buffer<float, typename X::space> sums;
  std::vector<float> scores;
  const index_t linear = linear_matrices(tensors);
  index_t done = 0;
  const auto probes = static_cast<double>(options.probes);
  const auto epsilon = static_cast<float>(options.epsilon);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const any_packed& w = tensors[t].weight;
    if (tensors[t].role != tensor_role::linear) {
      continue;
    }
    const index_t n = w.rows() * w.columns();
    sums = exec.template allocate<float>(n);  // zeros
    double squares = 0;
    for (int p = 0; p < options.probes; ++p) {
      const seed_t seed = probe_seed(options.seed, static_cast<index_t>(t), p);
      const double up = loss(moved.to(static_cast<index_t>(t), seed, epsilon));
      const double down = loss(moved.to(static_cast<index_t>(t), seed, -epsilon));
      const double slope = (up - down) / (2 * static_cast<double>(epsilon));
      squares += slope * slope / probes;
      place_signs(exec, seed, static_cast<float>(slope / probes), true, sums.data(), n);
      progress(++done, linear * options.probes);
    }
    scores.resize(static_cast<std::size_t>(n));
    exec.download(sums.data(), n, scores.data());
    for (float& s : scores) {
      const double g = static_cast<double>(s);
      s = static_cast<float>((probes * g * g - squares) / (probes - 1));
    }
    visit(tensors[t].name, w.rows(), w.columns(), std::span<const float>(scores));
  }
}

}  // namespace detail

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void check(const forward_curvature_options& options) {
  require(options.probes >= 2, "forward-curvature: ", options.probes, " probes, wanted 2 at least");
  require(options.epsilon > 0, "forward-curvature: epsilon is ", options.epsilon,
          ", wanted a positive number");
}

}  // namespace detail

}  // namespace zoq

#endif
