// adalomo: Adam's second moment, kept for the rows and columns of a matrix instead of its entries.
//
//     b = 1 - t^-decay                                     t = 1, 2, ...
//     r <- b r + (1 - b) (g^2 + eps) 1;   c <- b c + (1 - b) 1^T (g^2 + eps)
//     u = g / sqrt(r c / sum(r));         u <- u / max(1, rms(u) / clip)
//     w <- (1 - now * weight_decay) w - now * u,   now = rate * schedule * max(floor, rms(w))
//
//     zoq::adalomo optimizer{.rate = 0.1};
//
// For each extent of the order, that is each matrix of a view. rms(w) is that of a matrix's values,
// which in most views are offsets that start at zero: then `floor` alone gives the first steps their
// size. An extent of one row, as in a sparse view, has r c / sum(r) = c: the second moment of every
// value on its own. Lv et al., arXiv 2310.10195, with the decay of their code; the factors are
// Adafactor's, Shazeer and Stern, arXiv 1804.04235.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/optim/apply.hpp"
#include "zoq/optim/moments.hpp"
#include "zoq/optim/optimizer.hpp"

namespace zoq {

/// A factor of the second moment: running sums of squares over lines (rows, or columns) of a matrix.
struct add_squares_of_lines {
  const float* g;  // [rows, columns]
  index_t line,    // stride of lines
      item,        // stride of a line's items
      count;       // items of a line
  /// b: the share that is kept.
  double beta, eps;  // of a whole line
  float* sums;       // [lines]
  ZOQ_HD void operator()(index_t i) const {
    double sum = eps;
    for (index_t j = 0; j < count; ++j) {
      const double x = static_cast<double>(g[i * line + j * item]);
      sum += x * x;  // exact product: the same bits fused
    }
    sums[i] = static_cast<float>(running_mean(beta, static_cast<double>(sums[i]), sum));
  }
};

/// x[i], in double: to be summed.
struct element_of {
  const float* x;  // [n], of the loop
  ZOQ_HD double operator()(index_t i) const { return static_cast<double>(x[i]); }
};

/// g / sqrt(r c / sum(r)), rounded to float so that its square is exact in double.
struct factored_update {
  const float* g;   // [rows, columns]
  const float* r;   // [rows]
  const float* c;   // [columns]
  index_t columns;  // of the matrix
  double sum;       // of r
  /// u[i], before its rms is limited.
  [[nodiscard]] ZOQ_HD double of(index_t i) const {
    const double v =
        static_cast<double>(r[i / columns]) * static_cast<double>(c[i % columns]) / sum;
    return v > 0 ? static_cast<double>(static_cast<float>(static_cast<double>(g[i]) / std::sqrt(v)))
                 : 0.0;
  }
  ZOQ_HD double operator()(index_t i) const { return of(i) * of(i); }
};

/// w <- kept * w - rate * u.
struct apply_factored {
  factored_update u;  // before its rms is limited
  /// `now`, over what limits the rms.
  double rate, kept;  // 1 - now * weight_decay
  float* values;      // w [rows, columns]
  ZOQ_HD void operator()(index_t i) const {
    values[i] = static_cast<float>(std::fma(-rate, u.of(i), static_cast<double>(values[i]) * kept));
  }
};

struct adalomo {
  static constexpr std::string_view name = "adalomo";
  static constexpr std::string_view summary =
      "Adam's second moment by rows and columns of a matrix, steps scaled by its size";
  static constexpr std::string_view paper = "arXiv 2310.10195";
  static constexpr std::string_view cost = "4 bytes a row and column; sparse views 4 k bytes";
  double rate = 3e-4;
  double decay = 0.8;       // makes b of t
  double clip = 1;          // the largest rms of an update
  double floor = 1e-3;      // the least size of a matrix's values
  double epsilon = 1e-30;   // beside squares
  double weight_decay = 0;  // times the rate, of the value at each step

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rate", self.rate);
    f("decay", self.decay);
    f("clip", self.clip);
    f("floor", self.floor);
    f("epsilon", self.epsilon);
    f("weight_decay", self.weight_decay);
  }

  /// Rows and columns of every matrix.
  [[nodiscard]] static index_t state_size(const value_order& order) {
    index_t floats = 0;
    for (index_t t = 0; t < order.count; ++t) {
      floats += order.tensors[t].rows + order.tensors[t].columns;
    }
    return floats;
  }

  /// Throws on settings that make no sense. Cost: about five passes over the values.
  template <executor X>
  void apply(const X& exec, const value_order& order, const step_facts& facts,
             const float* gradient, float* state, float* values) const {
    detail::require_setting(name, "rate", rate);
    detail::require_setting(name, "decay", decay);
    detail::require_setting(name, "floor", floor);
    detail::require_setting(name, "epsilon", epsilon);
    detail::require_setting(name, "weight_decay", weight_decay);
    require(clip > 0, name, ": clip is ", clip, ", wanted a positive number");
    const double beta = 1 - std::pow(static_cast<double>(facts.step + 1), -decay);
    for (index_t t = 0; t < order.count; ++t) {
      const auto [first, rows, columns] = order.tensors[t];
      const index_t n = rows * columns;
      const float* g = gradient + first;
      float* r = state;
      float* c = r + rows;
      state = c + columns;
      if (n == 0) {
        continue;
      }
      exec.for_each(rows, add_squares_of_lines{g, columns, 1, columns, beta,
                                               epsilon * static_cast<double>(columns), r});
      exec.for_each(columns, add_squares_of_lines{g, 1, columns, rows, beta,
                                                  epsilon * static_cast<double>(rows), c});
      const factored_update u{g, r, c, columns, exec.sum(rows, element_of{r})};
      const double rms = std::sqrt(exec.sum(n, u) / static_cast<double>(n));
      const double size =
          std::sqrt(exec.sum(n, square_of{values + first}) / static_cast<double>(n));
      const double now = rate * facts.schedule * std::fmax(floor, size);
      exec.for_each(n, apply_factored{u, now / std::fmax(1.0, rms / clip), 1 - now * weight_decay,
                                      values + first});
    }
  }
};
static_assert(optimizer<adalomo>);

}  // namespace zoq
