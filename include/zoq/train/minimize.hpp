// minimize: zeroth-order descent of a plain function, with the estimators and optimizers that tune
// models.
//
//     std::vector<float> x = {3, -2};
//     zoq::minimize(exec, x, f, zoq::spsa{.epsilon = 1e-3}, zoq::sgd{.rate = 0.1}, {.steps = 200});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/train/step.hpp"

namespace zoq {

/// The point that a query names: origin + scale * shape * z(seed), on the host.
std::vector<float> point_of(const query& q, std::span<const float> values,
                            const any_direction& direction, const value_order& order);

/// Moves `x` [n] downhill of `loss(std::span<const float>) -> double`, in place. Returns the last
/// step's result. `tensors` says which stretches of x are matrices, for directions of low rank; none:
/// all of x is one row. For executors in host memory. Throws on losses and settings that make no sense.
template <executor X, class Loss, estimator<X> Estimator, optimizer Optimizer>
step_result minimize(const X& exec, std::span<float> x, Loss&& loss, const Estimator& estimator,
                     const Optimizer& optimizer, const recipe& how,
                     std::span<const extent> tensors = {}) {
  const extent whole{0, 1, static_cast<index_t>(x.size())};
  value_order order{&whole, 1, whole.columns};
  if (!tensors.empty()) {
    order.tensors = tensors.data();
    order.count = static_cast<index_t>(tensors.size());
  }
  stepper step(exec, order, estimator, optimizer, how);
  step_result last;
  while (!step.done()) {
    last = step.advance(x.data(), [&](std::span<const query> asked, std::vector<answer>& answers) {
      for (const query& q : asked) {
        answers.push_back({loss(std::span<const float>(point_of(q, x, step.direction(), order)))});
      }
    });
  }
  return last;
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY std::vector<float> point_of(const query& q, std::span<const float> values,
                                     const any_direction& direction, const value_order& order) {
  std::vector<float> x(values.begin(), values.end());
  if (q.origin != nullptr) {
    x.assign(q.origin, q.origin + values.size());
  }
  std::visit(
      [&](const auto& z) {
        const auto field = z.at(q.seed, order);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double noise =
              four_of(field, order.key, static_cast<index_t>(x.size()), static_cast<index_t>(i / 4))
                  .at[i % 4];
          const double step =
              q.scale * (q.shape == nullptr ? 1.0 : static_cast<double>(q.shape[i]));
          x[i] = static_cast<float>(static_cast<double>(x[i]) + step * noise);
        }
      },
      direction);
  return x;
}

}  // namespace zoq

#endif
