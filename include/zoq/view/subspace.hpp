// subspace: d values z in place of another layout's n: values = start + P z, with P [n, d] of random
// signs over sqrt(n). Whatever can be solved at small d has a small intrinsic dimension.
//
//     zoq::subspace_layout<zoq::cpu, zoq::lora_layout<zoq::cpu>> layout(
//         exec, std::move(lora), {.dimension = 200});
//
// P is a function of (seed, row, column), never stored; its columns have length 1. The start is z = 0.
// Li et al., "Measuring the Intrinsic Dimension of Objective Landscapes", arXiv 1804.08838, who draw
// normal columns; signs cost a hundredth of the random words.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/random/philox.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// What a subspace_layout needs beside the other layout.
struct subspace_options {
  index_t dimension = 100;  // d
  std::uint64_t seed = 0;   // of P
};

/// values[b, i] = start[i] + sum_j P[i, j] z_b[j] for a run of 128 values of one branch: the signs of one
/// Philox block. Sums in double, rounded once.
struct project_run {
  static constexpr index_t run = 128;  // values

  seed_t seed;         // of P
  const float* start;  // [n]
  part_values z;       // [d]
  index_t n,           // values of the other layout
      d;               // values of this one
  double length;       // of an entry: 1 / sqrt(n)
  float* out;          // [branches, n]

  [[nodiscard]] ZOQ_HD index_t runs() const { return (n + run - 1) / run; }  // of a branch
  ZOQ_HD void operator()(index_t i) const {
    const index_t branch = i / runs(), first = i % runs() * run;
    const float* at = z.at(branch);
    double sum[static_cast<std::size_t>(run)] = {};
    for (index_t j = 0; j < d; ++j) {
      const words4 signs =
          philox(seed, static_cast<std::uint64_t>(first / run), static_cast<std::uint64_t>(j));
      const double value = static_cast<double>(at[j]);
      for (index_t w = 0; w < 4; ++w) {
        for (index_t bit = 0; bit < 32; ++bit) {
          sum[w * 32 + bit] += (signs.at[w] >> bit & 1u) != 0 ? -value : value;
        }
      }
    }
    for (index_t k = 0; k < run && first + k < n; ++k) {
      out[branch * n + first + k] =
          static_cast<float>(static_cast<double>(start[first + k]) + length * sum[k]);
    }
  }
};

/// d values as one row. The inner layout has no values of its own: it gets start + P z.
template <executor X, view_layout<X> Inner>
class subspace_layout {
 public:
  static constexpr std::string_view name = "subspace";

  /// Throws on a dimension that is not from 1 to 2^31.
  subspace_layout(const X& exec, Inner inner, const subspace_options& how);

  [[nodiscard]] const Inner& inner() const { return inner_; }  // of the n values
  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return inner_.tensors(); }
  void start(const X&, tensor_view<float, 1>) const {}

  /// n d additions a branch, and a hundredth as many random words.
  void hand_out(const X& exec, const part_values& values, handed_parts& out);

  /// The inner layout's, and what it would need for its values.
  [[nodiscard]] index_t byte_count() const {
    return inner_.byte_count() + start_.byte_count() + expanded_.byte_count();
  }
  /// Those of the inner layout; empty where it has none.
  [[nodiscard]] mask places(const X& exec) const { return places_of(exec, inner_); }

 private:
  using memory = buffer<float, typename X::space>;
  subspace_options how_;
  Inner inner_;
  value_blocks blocks_;
  memory start_;     // [n]
  memory expanded_;  // [branches, n]
};

template <executor X, view_layout<X> Inner>
subspace_layout<X, Inner>::subspace_layout(const X& exec, Inner inner, const subspace_options& how)
    : how_(how),
      inner_(std::move(inner)),
      start_(exec.template allocate<float>(inner_.blocks().size())) {
  require_size(name, "dimension", how.dimension, index_t{1} << 31);
  inner_.start(exec, start_.view(start_.size()));
  blocks_.add("subspace", 1, how.dimension);
}

template <executor X, view_layout<X> Inner>
void subspace_layout<X, Inner>::hand_out(const X& exec, const part_values& values,
                                         handed_parts& out) {
  const index_t branches = values.all.shape[0], n = start_.size();
  expanded_.reserve(branches * n);
  const project_run task{how_.seed,       start_.data(),
                         values,          n,
                         how_.dimension,  1 / std::sqrt(static_cast<double>(n)),
                         expanded_.data()};
  exec.for_each(branches * task.runs(), task);
  inner_.hand_out(exec, part_values{{expanded_.data(), {branches, n}}, 0}, out);
}

}  // namespace zoq
