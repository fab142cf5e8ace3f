// Element by element: the gated activation, the residual sum, and rows picked out.
//
//     zoq::swiglu(exec, gate, up);    // gate <- silu(gate) * up,  silu(x) = x / (1 + e^-x)
//     zoq::add(exec, y, x);           // x <- x + y
//
// Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// Function objects run over short runs of elements, so that a run is a loop that becomes SIMD
/// code.
inline constexpr index_t run_length = 64;
/// On devices a run is one element: neighbouring threads then touch neighbouring memory.
template <executor X>
inline constexpr index_t run_length_on = on_host<typename X::space> ? run_length : 1;

/// gate <- silu(gate) * up for a run of elements.
template <index_t Length>
struct swiglu_run {
  float* gate;      // [n]
  const float* up;  // [n]
  index_t n;        // R * F
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * Length;
    const index_t end = begin + Length < n ? begin + Length : n;
    for (index_t i = begin; i < end; ++i) {
      gate[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
    }
  }
};

/// x <- x + y for a run of elements.
template <index_t Length>
struct add_run {
  const float* y;  // [n]
  float* x;        // [n]
  index_t n;       // R * C
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * Length;
    const index_t end = begin + Length < n ? begin + Length : n;
    for (index_t i = begin; i < end; ++i) {
      x[i] += y[i];
    }
  }
};

/// to <- from for a run of elements.
template <index_t Length>
struct copy_run {
  const float* from;  // [n]; null: zeros
  float* to;          // [n]
  index_t n;          // R * C
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * Length;
    const index_t end = begin + Length < n ? begin + Length : n;
    for (index_t i = begin; i < end; ++i) {
      to[i] = from == nullptr ? 0.0f : from[i];
    }
  }
};

/// to[b * Q + i] <- from[b * T + row_of[i]] for a run of one row.
template <index_t Length>
struct gather_run {
  tensor_view<const float, 2> from;  // [branches * T, C]
  const std::int32_t* row_of;        // [Q]
  index_t rows,                      // T
      queries;                       // Q
  tensor_view<float, 2> to;          // [branches * Q, C]
  /// Of a row.
  [[nodiscard]] ZOQ_HD index_t runs() const { return (to.shape[1] + Length - 1) / Length; }
  ZOQ_HD void operator()(index_t run) const {
    const index_t columns = to.shape[1];
    const index_t i = run / runs();
    const index_t row = i / queries * rows + row_of[i % queries];
    const index_t begin = run % runs() * Length;
    const index_t end = begin + Length < columns ? begin + Length : columns;
    for (index_t c = begin; c < end; ++c) {
      to.data[i * columns + c] = from.data[row * columns + c];
    }
  }
};

/// gate <- silu(gate) * up. Both [R, F]. Throws when shapes disagree.
template <executor X>
void swiglu(const X& exec, tensor_view<float, 2> gate, tensor_view<const float, 2> up) {
  require(gate.size() == up.size(), "swiglu: ", gate.size(), " gates for ", up.size(), " values");
  const index_t n = gate.size();
  constexpr index_t length = run_length_on<X>;
  exec.for_each((n + length - 1) / length, swiglu_run<length>{gate.data, up.data, n});
}

/// x <- x + y. Both [R, C]. Throws when shapes disagree.
template <executor X>
void add(const X& exec, tensor_view<const float, 2> y, tensor_view<float, 2> x) {
  require(x.size() == y.size(), "add: ", y.size(), " elements to ", x.size());
  const index_t n = x.size();
  constexpr index_t length = run_length_on<X>;
  exec.for_each((n + length - 1) / length, add_run<length>{y.data, x.data, n});
}

/// y <- x. Both [R, C]. Throws when shapes disagree.
template <executor X>
void copy(const X& exec, tensor_view<const float, 2> x, tensor_view<float, 2> y) {
  require(x.size() == y.size(), "copy: ", x.size(), " elements to ", y.size());
  const index_t n = x.size();
  constexpr index_t length = run_length_on<X>;
  exec.for_each((n + length - 1) / length, copy_run<length>{x.data, y.data, n});
}

/// y <- 0. [R, C].
template <executor X>
void clear(const X& exec, tensor_view<float, 2> y) {
  const index_t n = y.size();
  constexpr index_t length = run_length_on<X>;
  exec.for_each((n + length - 1) / length, copy_run<length>{nullptr, y.data, n});
}

/// Picks rows out of every branch. from: [branches * T, C], row_of: [Q], to: [branches * Q, C].
template <executor X>
void gather_rows(const X& exec, tensor_view<const float, 2> from,
                 tensor_view<const std::int32_t, 1> row_of, index_t branches,
                 tensor_view<float, 2> to) {
  const index_t queries = row_of.shape[0];
  require(to.shape[0] == branches * queries && from.shape[0] % branches == 0 &&
              from.shape[1] == to.shape[1],
          "gather_rows: from ", from.shape[0], " x ", from.shape[1], " to ", to.shape[0], " x ",
          to.shape[1], " for ", queries, " rows of ", branches, " branches");
  const gather_run<run_length_on<X>> gather{from, row_of.data, from.shape[0] / branches, queries,
                                            to};
  exec.for_each(to.shape[0] * gather.runs(), gather);
}

/// to[b] <- from for a run of one branch.
template <index_t Length>
struct repeat_run {
  const float* from;  // [n]
  float* to;          // [branches, n]
  index_t n;          // T * C
  /// Of a branch.
  [[nodiscard]] ZOQ_HD index_t runs() const { return (n + Length - 1) / Length; }
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run % runs() * Length;
    const index_t end = begin + Length < n ? begin + Length : n;
    float* out = to + run / runs() * n;
    for (index_t i = begin; i < end; ++i) {
      out[i] = from[i];
    }
  }
};

/// The same rows for every branch. from: [T, C], to: [branches * T, C].
template <executor X>
void repeat_rows(const X& exec, tensor_view<const float, 2> from, index_t branches,
                 tensor_view<float, 2> to) {
  require(to.shape[0] == branches * from.shape[0] && to.shape[1] == from.shape[1],
          "repeat_rows: from ", from.shape[0], " x ", from.shape[1], " to ", to.shape[0], " x ",
          to.shape[1], " for ", branches, " branches");
  const repeat_run<run_length_on<X>> repeat{from.data, to.data, from.size()};
  exec.for_each(branches * repeat.runs(), repeat);
}

}  // namespace zoq
