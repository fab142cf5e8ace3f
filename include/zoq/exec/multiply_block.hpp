// y = x W^T for few rows of x, as a task of a block of threads: weights are decoded to registers and
// multiplied there, and nothing of them is written. For generation, where reading W is the cost.
//
//     multiply_block<q4_1, 4, float> task{x, w, y};      // up to 4 rows of x
//     exec.run_blocks(task.blocks(), task);
//
// A block makes 32 outputs. Its 256 threads share the depth 8 ways: a thread decodes 32 columns of its
// output, and multiplies them with rows of x that the threads beside it read as well. Sums are float, in
// an order that depends on C alone: an element's bits do not depend on how many rows there are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/block.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// x: [R, C] with R <= Rows, w: [O, C], y: [R, O]. T is float, or bf16: then decoded weights are rounded
/// to it. 2 R C O operations; W is read once.
template <quant_scheme S, int Rows, class T>
struct multiply_block {
  static constexpr int outputs = 32;                  // of a block
  static constexpr int parts = 8;                     // of the depth
  static constexpr int threads = outputs * parts;     // of a block
  static constexpr int run = 32;                      // columns that a thread takes at once
  static constexpr int runs = 2;                      // of each part, with x in shared memory
  static constexpr int columns = parts * runs * run;  // of x in shared memory at a time
  static_assert(run % S::block_size == 0, "a block of weights is a thread's, whole");

  tensor_view<const T, 2> x;  // [R, C]
  packed_view<S> w;           // [O, C]
  tensor_view<float, 2> y;    // [R, O]

  /// Memory of a block.
  struct shared {
    /// Columns of x; zeros beyond its rows.
    floats4 x[static_cast<std::size_t>(Rows)][static_cast<std::size_t>(columns / 4)];
    /// What each part of the depth adds to the outputs.
    float sum[static_cast<std::size_t>(parts)][static_cast<std::size_t>(Rows)]
             [static_cast<std::size_t>(outputs)];
  };
  /// Registers of a thread.
  struct mine {
    float sum[static_cast<std::size_t>(Rows)];  // of its output and part, by rows
  };

  /// Blocks of threads that make all of y.
  [[nodiscard]] ZOQ_HD index_t blocks() const { return (w.shape[0] + outputs - 1) / outputs; }

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    auto own = block.template local<mine>();
    for (index_t first = 0; first < w.shape[1]; first += columns) {
      block.each([&](int t) { load(block.shared(), t, first); });
      block.each([&](int t) {
        const index_t o = block.index() * outputs + t % outputs;
        ZOQ_UNROLL_BLOCK for (int i = 0; i < runs; ++i) {
          const int column = (i * parts + t / outputs) * run;
          if (o < w.shape[0] && first + column < w.shape[1]) {
            add(block.shared(), own[t], o, first, column);
          }
        }
      });
    }
    block.each([&](int t) {
      ZOQ_UNROLL_BLOCK for (int r = 0; r < Rows; ++r) {
        block.shared().sum[t / outputs][r][t % outputs] = own[t].sum[r];
      }
    });
    block.each([&](int t) {
      const index_t o = block.index() * outputs + t % outputs;
      for (int r = t / outputs; r < Rows; r += parts) {
        float sum = 0;
        ZOQ_UNROLL_BLOCK for (int p = 0; p < parts; ++p) {
          sum += block.shared().sum[p][r][t % outputs];
        }
        if (o < w.shape[0] && r < x.shape[0]) {
          y.data[r * y.shape[1] + o] = sum;
        }
      }
    });
  }

 private:
  // Columns [first, first + columns) of all rows of x; zeros beyond.
  ZOQ_HD void load(shared& memory, int t, index_t first) const {
    for (int r = 0; r < Rows; ++r) {
      ZOQ_UNROLL_BLOCK for (int c = t; c < columns; c += threads) {
        memory.x[r][c / 4].at[c % 4] = r < x.shape[0] && first + c < x.shape[1]
                                           ? to_float(x.data[r * x.shape[1] + first + c])
                                           : 0.0f;
      }
    }
  }

  // Adds the products of columns [column, column + run) of the stretch from `first` on.
  ZOQ_HD void add(const shared& memory, mine& own, index_t o, index_t first, int column) const {
    floats4 weight[static_cast<std::size_t>(run / 4)];
    decode(o, first + column, weight);
    ZOQ_UNROLL_BLOCK for (int r = 0; r < Rows; ++r) {
      ZOQ_UNROLL_BLOCK for (int c = 0; c < run / 4; ++c) {
        const floats4 in = memory.x[r][column / 4 + c];
        ZOQ_UNROLL_BLOCK for (int l = 0; l < 4; ++l) { own.sum[r] += in.at[l] * weight[c].at[l]; }
      }
    }
  }

  // Columns [column, column + run) of row o; zeros beyond the last one.
  ZOQ_HD void decode(index_t o, index_t column, floats4* weight) const {
    const typename S::row row = w.row(o);
    float value[static_cast<std::size_t>(run)] = {};
    ZOQ_UNROLL_BLOCK for (int b = 0; b < run / S::block_size; ++b) {
      if (column + b * S::block_size < w.shape[1]) {
        S::decode(row, w.block(o, column / S::block_size + b), value + b * S::block_size);
      }
    }
    ZOQ_UNROLL_BLOCK for (int c = 0; c < run; ++c) {
      if constexpr (std::is_same_v<T, bf16>) {
        value[c] = to_float(to_bf16(value[c]));
      }
      weight[c / 4].at[c % 4] = value[c];
    }
  }
};

/// The most rows of x that multiply_block takes.
inline constexpr index_t most_block_rows = 16;

/// f(block task) with the smallest one that x's rows fit: 1, 4 or 16. At most `most_block_rows` rows.
template <quant_scheme S, class T, class F>
void with_multiply_block(tensor_view<const T, 2> x, const packed_view<S>& w,
                         tensor_view<float, 2> y, const F& f) {
  if (x.shape[0] <= 1) {
    f(multiply_block<S, 1, T>{x, w, y});
  } else if (x.shape[0] <= 4) {
    f(multiply_block<S, 4, T>{x, w, y});
  } else {
    f(multiply_block<S, 16, T>{x, w, y});
  }
}

}  // namespace zoq
