// What an executor on Thrust does beside the products themselves, as named function objects: one item
// is little work, and neighbouring items touch neighbouring memory, as a device wants it. And what the
// workspaces of such an executor hold, for the executor and for plans: nothing here needs Thrust.
//
//     exec.for_each(task.items(), task);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/loops.hpp"
#include "zoq/exec/multiply_block.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// What bounds the workspaces of an executor on Thrust. The defaults are those of `cuda`: plans are
/// made without a device.
struct workspace_limits {
  index_t slice_bytes = index_t{32} << 20;    // of weights that are decoded at a time
  index_t library_bytes = index_t{32} << 20;  // cuBLAS' own: what it asks for on sm_90
  index_t packed_rows = most_block_rows;      // products of at most as many rows decode no slice
};

}  // namespace zoq

namespace zoq::detail {

/// How many of `count` lines of `bytes` each a slice takes: all, or a number that suits tiles of 64;
/// at least one.
constexpr index_t lines_in_slice(index_t slice_bytes, index_t bytes, index_t count) {
  const index_t fit = slice_bytes / std::max<index_t>(bytes, 1);
  if (fit >= count) {
    return std::max<index_t>(count, 1);
  }
  return fit > 64 ? fit / 64 * 64 : std::max<index_t>(fit, 1);
}

/// Partial sums of a sum of n.
constexpr index_t chunks_of_sum(index_t n) { return (n + sum_chunk - 1) / sum_chunk; }

/// One chunk of a sum in the order of exec/loops.hpp.
template <class F>
struct sum_of_chunk {
  F f;
  index_t n;
  double* partial;  // [chunks]
  ZOQ_HD void operator()(index_t chunk) const {
    const index_t begin = chunk * sum_chunk;
    const index_t end = begin + sum_chunk < n ? begin + sum_chunk : n;
    double s = 0;
    for (index_t i = begin; i < end; ++i) {
      s += static_cast<double>(f(i));
    }
    partial[chunk] = s;
  }
};

/// The value as a product takes it.
template <class T>
ZOQ_HD T rounded_to(float x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return to_bf16(x);
  } else {
    return x;
  }
}

/// Stores 16 bytes at once.
template <class T>
struct alignas(16) store_unit {
  static constexpr int count = 16 / static_cast<int>(sizeof(T));
  T at[static_cast<std::size_t>(count)];
};

/// A stretch of a packed matrix, decoded: rows [row, row + rows), blocks [block, block + blocks) of
/// each. One item is one block of one row.
template <quant_scheme S, class T>
struct decode_slice {
  packed_view<S> w;
  index_t row, rows;
  index_t block, blocks;
  T* slice;  // [rows, blocks * S::block_size], aligned to 16 bytes

  [[nodiscard]] ZOQ_HD index_t items() const { return rows * blocks; }
  ZOQ_HD void operator()(index_t i) const {
    const index_t r = i / blocks;
    float values[static_cast<std::size_t>(S::block_size)];
    S::decode(w.row(row + r), w.block(row + r, block + i % blocks), values);
    T* out = slice + i * S::block_size;  // blocks stand without a gap, row after row
    using unit = store_unit<T>;
    if constexpr (S::block_size % unit::count == 0) {
      for (int u = 0; u < S::block_size; u += unit::count) {
        unit stored;
        for (int j = 0; j < unit::count; ++j) {
          stored.at[j] = rounded_to<T>(values[u + j]);
        }
        *reinterpret_cast<unit*>(out + u) = stored;
      }
    } else {
      for (int j = 0; j < S::block_size; ++j) {
        out[j] = rounded_to<T>(values[j]);
      }
    }
  }
};

/// Inputs rounded to bfloat16. Of pairs of branches, the second's are the difference to the first's:
/// what rounding does to the first it does to both. One item is a short run of one branch or pair.
struct round_inputs {
  static constexpr index_t run = 8;

  const float* x;    // [branches, n]
  bf16* out;         // the same
  index_t branches;  // even for pairs
  index_t n;         // values of a branch: T * C
  bool pairs;

  [[nodiscard]] ZOQ_HD index_t values() const { return branches * n; }  // of x, and of out
  [[nodiscard]] ZOQ_HD index_t runs() const { return (n + run - 1) / run; }
  [[nodiscard]] ZOQ_HD index_t items() const { return branches / (pairs ? 2 : 1) * runs(); }
  ZOQ_HD void operator()(index_t i) const {
    const index_t base = i / runs() * (pairs ? 2 * n : n);
    const index_t begin = i % runs() * run;
    const index_t end = begin + run < n ? begin + run : n;
    for (index_t j = base + begin; j < base + end; ++j) {
      out[j] = to_bf16(x[j]);
      if (pairs) {
        out[j + n] = to_bf16(x[j + n] - x[j]);
      }
    }
  }
};

/// After the product: what the first branch of a pair has, the second has too.
struct add_first_of_pairs {
  static constexpr index_t run = 8;

  float* y;          // [branches, n]
  index_t branches;  // even
  index_t n;         // values of a branch: T * O

  [[nodiscard]] ZOQ_HD index_t runs() const { return (n + run - 1) / run; }
  [[nodiscard]] ZOQ_HD index_t items() const { return branches / 2 * runs(); }
  ZOQ_HD void operator()(index_t i) const {
    const index_t base = i / runs() * 2 * n;
    const index_t begin = i % runs() * run;
    const index_t end = begin + run < n ? begin + run : n;
    for (index_t j = base + begin; j < base + end; ++j) {
      y[j + n] += y[j];
    }
  }
};

/// Inputs by columns, so that a part's entry reads neighbouring rows at once: blocks of 32 rows of a
/// branch, row r of a block at [c * 32 + r]. Rows that are not there are 0. One item is one value.
struct turn_inputs {
  static constexpr index_t lanes = 32;  // rows of a block

  const float* x;      // [branches * T, C]
  float* turned;       // [branches, blocks, C, 32]
  index_t branches;    //
  index_t per_branch;  // T
  index_t columns;     // C

  [[nodiscard]] ZOQ_HD index_t blocks() const { return (per_branch + lanes - 1) / lanes; }
  [[nodiscard]] ZOQ_HD index_t items() const { return branches * blocks() * columns * lanes; }
  ZOQ_HD void operator()(index_t i) const {
    const index_t c = i / lanes % columns;
    const index_t block = i / lanes / columns;
    const index_t r = block % blocks() * lanes + i % lanes;
    const index_t row = block / blocks() * per_branch + r;
    turned[i] = r < per_branch ? x[row * columns + c] : 0.0f;
  }
};

/// Adds a view's part to one row of y, a short run of its outputs. Every output's entries are summed in
/// their order and added once, as ops/linear.hpp does it: bits do not depend on what is stacked.
/// Items of neighbouring rows stand together, and read the same entries.
struct add_part {
  static constexpr index_t lanes = turn_inputs::lanes;
  static constexpr index_t run = 16;  // outputs: a row's are written together

  sparse_part part;
  turn_inputs in;
  tensor_view<float, 2> y;  // [branches * T, O]

  [[nodiscard]] ZOQ_HD index_t runs() const { return (y.shape[1] + run - 1) / run; }
  [[nodiscard]] ZOQ_HD index_t items() const { return in.branches * in.blocks() * runs() * lanes; }
  ZOQ_HD void operator()(index_t i) const {
    const index_t lane = i % lanes;
    const index_t first = i / lanes % runs() * run;
    const index_t block = i / lanes / runs();
    const index_t branch = block / in.blocks();
    const index_t r = block % in.blocks() * lanes + lane;
    if (r >= in.per_branch) {
      return;
    }
    const index_t n = part.row.shape[0];
    const float* value = part.values.data + branch * part.values.shape[1] + part.first;
    const float* x = in.turned + block * in.columns * lanes + lane;
    float* out = y.data + (branch * in.per_branch + r) * y.shape[1];
    for (index_t j = first_entry_of(first); j < n && part.row.data[j] < first + run;) {
      const std::int32_t o = part.row.data[j];
      float sum = 0;
      for (; j < n && part.row.data[j] == o; ++j) {
        sum += value[j] * x[part.column.data[j] * lanes];
      }
      out[o] += sum;
    }
  }

 private:
  // The first entry of output o or a later one.
  [[nodiscard]] ZOQ_HD index_t first_entry_of(index_t o) const {
    index_t low = 0, high = part.row.shape[0];
    while (low < high) {
      const index_t middle = (low + high) / 2;
      if (part.row.data[middle] < o) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

}  // namespace zoq::detail
