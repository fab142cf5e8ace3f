// Scores that need no data: the size of a weight, and chance. The controls that Fisher must beat.
//
//     auto large = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.001});
//     auto small = zoq::top_k(zoq::magnitude_smallest(model.tensors()), {.density = 0.001});
//     auto any = zoq::top_k(zoq::random_score(model.tensors(), seed), {.density = 0.001});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq {

namespace detail {

/// visit(tensor name, rows, columns, sign * |decoded weight|) for every matrix of a linear layer.
void visit_magnitudes(std::span<const model_tensor> tensors, float sign, gradient_visitor visit);

}  // namespace detail

/// score = |decoded weight|.
class magnitude {
 public:
  static constexpr std::string_view name = "magnitude";
  static constexpr std::string_view summary = "the largest weights: a control";
  static constexpr std::string_view paper = "arXiv 2406.02913";
  static constexpr std::string_view cost = "one reading of the weights";
  /// Keeps no copy: the tensors must outlive it.
  explicit magnitude(std::span<const model_tensor> tensors) : tensors_(tensors) {}

  /// Weights of linear layers: as many as there are scores.
  [[nodiscard]] index_t entries() const;

  /// Calls visit(tensor name, rows, columns, scores) for every matrix of a linear layer.
  void visit(gradient_visitor visit) const { detail::visit_magnitudes(tensors_, 1, visit); }

 private:
  std::span<const model_tensor> tensors_;
};

/// score = -|decoded weight|: the smallest weights come first. In a format of blocks many decode to 0;
/// of these the first are taken.
class magnitude_smallest {
 public:
  static constexpr std::string_view name = "magnitude-smallest";
  static constexpr std::string_view summary = "the smallest weights: a control";
  static constexpr std::string_view paper = "arXiv 2406.02913";
  static constexpr std::string_view cost = "one reading of the weights";
  /// Keeps no copy: the tensors must outlive it.
  explicit magnitude_smallest(std::span<const model_tensor> tensors) : tensors_(tensors) {}

  /// As magnitude's.
  [[nodiscard]] index_t entries() const;

  /// As magnitude's.
  void visit(gradient_visitor visit) const { detail::visit_magnitudes(tensors_, -1, visit); }

 private:
  std::span<const model_tensor> tensors_;
};

/// score = a uniform number in [0, 1), keyed by (seed, tensor, element).
class random_score {
 public:
  static constexpr std::string_view name = "random";
  static constexpr std::string_view summary = "any weights: a control";
  static constexpr std::string_view paper = "arXiv 2406.02913";
  static constexpr std::string_view cost = "a random number an entry";
  /// Keeps no copy of the tensors, which must outlive it.
  random_score(std::span<const model_tensor> tensors, seed_t seed)
      : tensors_(tensors), seed_(seed) {}

  /// As magnitude's.
  [[nodiscard]] index_t entries() const;

  /// As magnitude's.
  void visit(gradient_visitor visit) const;

 private:
  std::span<const model_tensor> tensors_;
  seed_t seed_;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>
#include <vector>

#include "zoq/random/philox.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY void visit_magnitudes(std::span<const model_tensor> tensors, float sign,
                               gradient_visitor visit) {
  std::vector<float> scores;
  for (const model_tensor& t : tensors) {
    if (t.role != tensor_role::linear) {
      continue;
    }
    const index_t columns = t.weight.columns();
    scores.resize(static_cast<std::size_t>(t.weight.rows() * columns));
    t.weight.visit([&](const auto& w) {
      for (index_t o = 0; o < w.shape[0]; ++o) {
        decode_row(w, o, scores.data() + o * columns);
      }
    });
    for (float& s : scores) {
      s = sign * std::fabs(s);
    }
    visit(t.name, t.weight.rows(), columns, std::span<const float>(scores));
  }
}

}  // namespace detail

ZOQ_BODY index_t magnitude::entries() const { return linear_weights(tensors_); }

ZOQ_BODY index_t magnitude_smallest::entries() const { return linear_weights(tensors_); }

ZOQ_BODY index_t random_score::entries() const { return linear_weights(tensors_); }

ZOQ_BODY void random_score::visit(gradient_visitor visit) const {
  std::vector<float> scores;
  for (std::size_t n = 0; n < tensors_.size(); ++n) {
    const model_tensor& t = tensors_[n];
    if (t.role != tensor_role::linear) {
      continue;
    }
    const seed_t seed = derive_seed(seed_, purpose::masks, n);
    scores.resize(static_cast<std::size_t>(t.weight.rows() * t.weight.columns()));
    for (std::size_t i = 0; i < scores.size(); i += 4) {
      const words4 w = philox(seed, i / 4);
      for (std::size_t j = 0; j < 4 && i + j < scores.size(); ++j) {
        scores[i + j] = static_cast<float>(w.at[j] >> 8) * 0x1p-24f;  // 24 bits are exact
      }
    }
    visit(t.name, t.weight.rows(), t.weight.columns(), std::span<const float>(scores));
  }
}

}  // namespace zoq

#endif
