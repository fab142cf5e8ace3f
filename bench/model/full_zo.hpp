// Full zeroth-order tuning, to compare with: all weights in f32, moved in place by noise that is made
// again from its seed, as MeZO does (Malladi et al., arXiv 2305.17333).
//
//     zoq::bench::full_zo full(exec, model);    // a copy in f32: 4 bytes a weight
//     zoq::bench::full_times t = full.step(rows);
//     t.all();  t.passes;  t.forward;           // seconds; passes over the weights, forward passes
//
// A step goes over all weights three times: to +epsilon, to -epsilon, and back together with the
// update. (Published code takes a fourth pass for the update alone.) Branches can't be stacked, as
// each needs weights of its own. The norms' gains stay as they are: a forward pass holds a copy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "model/setup.hpp"
#include "program.hpp"

namespace zoq::bench {

/// w += scale * z, four weights.
template <field Field>
struct add_noise_block {
  Field z;
  float scale;
  index_t first;  // block of the first weight
  float* w;

  ZOQ_HD void operator()(index_t block) const {
    const float4v noise = z.four(first + block);
    for (index_t j = 0; j < 4; ++j) {
      w[4 * block + j] += scale * noise.at[j];
    }
  }
};

struct full_times {
  double passes = 0;   // over all weights
  double forward = 0;  // of both branches
  [[nodiscard]] double all() const { return passes + forward; }
};

class full_zo {
 public:
  /// Decodes `from`. Keeps a reference to the executor, whose compute policy the forwards use.
  full_zo(const cpu& exec, const llama& from) : full_zo(exec, from, decoded(from)) {}

  /// The model as it is now.
  [[nodiscard]] const llama& model() const { return model_; }
  [[nodiscard]] index_t weights() const { return weights_; }

  /// weights += scale * z(seed): one pass.
  void move(const any_direction& direction, seed_t seed, double scale) {
    std::visit(
        [&](const auto& z) {
          const auto field = z.at(seed, value_order{});
          index_t first = 0;
          for (const auto& [w, count] : matrices_) {
            exec_.for_each(count / 4, add_noise_block<std::decay_t<decltype(field)>>{
                                          field, static_cast<float>(scale), first, w});
            first += count / 4;
          }
        },
        direction);
  }

  /// A two-sided step on all of `rows`.
  template <objective Objective = option_likelihood>
  full_times step(std::span<const example> rows, const any_direction& direction = gaussian{},
                  const Objective& objective = {}) {
    constexpr double epsilon = 1e-3, rate = 1e-9;
    const seed_t seed = ++steps_;
    const auto all = all_of(rows);
    double loss[2] = {};
    full_times out;
    for (int side = 0; side < 2; ++side) {
      out.passes += seconds_of([&] { move(direction, seed, side == 0 ? epsilon : -2 * epsilon); });
      out.forward +=
          seconds_of([&] { loss[side] = evaluate(pass_, {}, objective, all).branch[0].mean(); });
    }
    const double slope = (loss[0] - loss[1]) / (2 * epsilon);
    out.passes += seconds_of([&] { move(direction, seed, epsilon - rate * slope); });
    return out;
  }

  /// The loss of `rows` with the weights as they are.
  double loss(std::span<const example> rows) {
    return evaluate(pass_, {}, option_likelihood{}, all_of(rows)).branch[0].mean();
  }

 private:
  full_zo(const cpu& exec, const llama& from, std::shared_ptr<owned_tensors> owned)
      : exec_(exec), model_(from.config(), owned->tensors, owned), pass_(exec, model_) {
    for (std::size_t t = 0; t < owned->tensors.size(); ++t) {
      const any_packed& w = owned->tensors[t].weight;
      if (owned->tensors[t].role != tensor_role::norm) {
        require(w.columns() % 4 == 0, owned->tensors[t].name, ": ", w.columns(),
                " columns are no multiple of 4");
        const index_t count = w.rows() * w.columns();
        matrices_.push_back({reinterpret_cast<float*>(owned->memory[t].data()), count});
        weights_ += count;
      }
    }
  }

  static std::shared_ptr<owned_tensors> decoded(const llama& from) {
    auto out = std::make_shared<owned_tensors>();
    for (const model_tensor& t : from.tensors()) {
      t.weight.visit([&](const auto& w) {
        out->add<f32_format>(t.name, t.role, w.shape[0], w.shape[1],
                             [&](index_t o, float* row) { decode_row(w, o, row); });
      });
    }
    return out;
  }

  struct matrix {
    float* w;
    index_t count;
  };

  const cpu& exec_;
  llama model_;
  llama_forward<cpu> pass_;
  std::vector<matrix> matrices_;
  index_t weights_ = 0;
  seed_t steps_ = 0;
};

}  // namespace zoq::bench
