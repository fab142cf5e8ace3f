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
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

// Function objects run over short runs of elements, so that a run is a loop that becomes SIMD code.
inline constexpr index_t run_length = 64;

struct swiglu_run {
  float* gate;
  const float* up;
  index_t n;
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * run_length;
    const index_t end = begin + run_length < n ? begin + run_length : n;
    for (index_t i = begin; i < end; ++i) {
      gate[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
    }
  }
};

struct add_run {
  const float* y;
  float* x;
  index_t n;
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * run_length;
    const index_t end = begin + run_length < n ? begin + run_length : n;
    for (index_t i = begin; i < end; ++i) {
      x[i] += y[i];
    }
  }
};

struct copy_run {
  const float* from;  // null: zeros
  float* to;
  index_t n;
  ZOQ_HD void operator()(index_t run) const {
    const index_t begin = run * run_length;
    const index_t end = begin + run_length < n ? begin + run_length : n;
    for (index_t i = begin; i < end; ++i) {
      to[i] = from == nullptr ? 0.0f : from[i];
    }
  }
};

struct gather_row {
  tensor_view<const float, 2> from;  // [branches * T, C]
  const std::int32_t* row_of;        // [Q]
  index_t rows, queries;             // T, Q
  tensor_view<float, 2> to;          // [branches * Q, C]
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / queries * rows + row_of[i % queries];
    for (index_t c = 0; c < to.shape[1]; ++c) {
      to.data[i * to.shape[1] + c] = from.data[row * to.shape[1] + c];
    }
  }
};

/// gate <- silu(gate) * up. Both [R, F]. Throws when shapes disagree.
template <executor X>
void swiglu(const X& exec, tensor_view<float, 2> gate, tensor_view<const float, 2> up) {
  require(gate.size() == up.size(), "swiglu: ", gate.size(), " gates for ", up.size(), " values");
  const index_t n = gate.size();
  exec.for_each((n + run_length - 1) / run_length, swiglu_run{gate.data, up.data, n});
}

/// x <- x + y. Both [R, C]. Throws when shapes disagree.
template <executor X>
void add(const X& exec, tensor_view<const float, 2> y, tensor_view<float, 2> x) {
  require(x.size() == y.size(), "add: ", y.size(), " elements to ", x.size());
  const index_t n = x.size();
  exec.for_each((n + run_length - 1) / run_length, add_run{y.data, x.data, n});
}

/// y <- x. Both [R, C]. Throws when shapes disagree.
template <executor X>
void copy(const X& exec, tensor_view<const float, 2> x, tensor_view<float, 2> y) {
  require(x.size() == y.size(), "copy: ", x.size(), " elements to ", y.size());
  const index_t n = x.size();
  exec.for_each((n + run_length - 1) / run_length, copy_run{x.data, y.data, n});
}

/// y <- 0. [R, C].
template <executor X>
void clear(const X& exec, tensor_view<float, 2> y) {
  const index_t n = y.size();
  exec.for_each((n + run_length - 1) / run_length, copy_run{nullptr, y.data, n});
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
  exec.for_each(to.shape[0], gather_row{from, row_of.data, from.shape[0] / branches, queries, to});
}

struct repeat_row {
  tensor_view<const float, 2> from;  // [T, C]
  tensor_view<float, 2> to;          // [branches * T, C]
  ZOQ_HD void operator()(index_t r) const {
    const index_t columns = from.shape[1];
    for (index_t c = 0; c < columns; ++c) {
      to.data[r * columns + c] = from.data[r % from.shape[0] * columns + c];
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
  exec.for_each(to.shape[0], repeat_row{from, to});
}

}  // namespace zoq
