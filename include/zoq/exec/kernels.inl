// The CPU kernels of one instruction set. exec/kernels.hpp includes this file once for each, inside
// a namespace of its own, with ZOQ_TARGET set to the function attribute, and with a type `vec` of
// ZOQ_LANES floats (load, store, broadcast, multiply_add) and the tile sizes ZOQ_ROWS x ZOQ_VECS.
//
// No include guard: that is the point.
// SPDX-License-Identifier: Apache-2.0

inline constexpr int tile_rows = ZOQ_ROWS;
inline constexpr int panel_width = ZOQ_VECS * ZOQ_LANES;

/// y[m, j] = (resume ? y[m, j] : 0) + sum_k a[m, k] panel[k, j] for M rows and a whole panel.
/// The sum runs over k in order, one fused multiply-add each: so a row's bits depend neither on
/// the tile that it falls in nor on the rows beside it.
template <int M>
ZOQ_TARGET inline void multiply_tile(const float* a, index_t a_stride, const float* panel,
                                     index_t depth, bool resume, float* y, index_t y_stride) {
  vec sum[static_cast<std::size_t>(M)][ZOQ_VECS];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
      sum[m][v] = resume ? load(y + m * y_stride + v * ZOQ_LANES) : broadcast(0.0f);
    }
  }
  for (index_t k = 0; k < depth; ++k) {
    vec weight[ZOQ_VECS];
    ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
      weight[v] = load(panel + k * panel_width + v * ZOQ_LANES);
    }
    ZOQ_UNROLL for (int m = 0; m < M; ++m) {
      const vec input = broadcast(a[m * a_stride + k]);
      ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
        sum[m][v] = multiply_add(input, weight[v], sum[m][v]);
      }
    }
  }
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
      store(y + m * y_stride + v * ZOQ_LANES, sum[m][v]);
    }
  }
}

/// `multiply_tile` for a number of rows known at run time, 1 to tile_rows.
template <int M = tile_rows>
ZOQ_TARGET inline void multiply_rows(index_t rows, const float* a, index_t a_stride,
                                     const float* panel, index_t depth, bool resume, float* y,
                                     index_t y_stride) {
  if (rows == M) {
    multiply_tile<M>(a, a_stride, panel, depth, resume, y, y_stride);
  } else if constexpr (M > 1) {
    multiply_rows<M - 1>(rows, a, a_stride, panel, depth, resume, y, y_stride);
  }
}

/// y[r, first + j] = sum_k a[r, k] w[first + j, k] for `rows` rows and the panel of outputs at
/// `first`. Every weight is decoded once, whatever the number of rows.
template <class Source>
ZOQ_TARGET ZOQ_FLATTEN inline void multiply_panel(const Source& source, index_t first,
                                                  const float* a, index_t a_stride, index_t rows,
                                                  float* y, index_t y_stride) {
  alignas(64) float panel[panel_depth * panel_width];
  const index_t width = std::min<index_t>(panel_width, source.outputs() - first);
  const index_t tiles = (rows + tile_rows - 1) / tile_rows;
  for (index_t k = 0; k < source.depth(); k += panel_depth) {
    const index_t depth = std::min(panel_depth, source.depth() - k);
    source.template fill<panel_width>(first, width, k, depth, panel);
    for (index_t t = 0; t < tiles; ++t) {  // even tiles rather than a short tail
      const index_t begin = rows * t / tiles;
      const index_t count = rows * (t + 1) / tiles - begin;
      const float* from = a + begin * a_stride + k;
      float* to = y + begin * y_stride + first;
      if (width == panel_width) {
        multiply_rows(count, from, a_stride, panel, depth, k != 0, to, y_stride);
      } else {  // the last panel is narrow: go through a whole tile
        alignas(64) float tile[tile_rows * panel_width] = {};
        for (index_t m = 0; m < count; ++m) {
          std::copy_n(to + m * y_stride, width, tile + m * panel_width);
        }
        multiply_rows(count, from, a_stride, panel, depth, k != 0, tile, panel_width);
        for (index_t m = 0; m < count; ++m) {
          std::copy_n(tile + m * panel_width, width, to + m * y_stride);
        }
      }
    }
  }
}

/// f(i) for i in [begin, end), compiled for this instruction set.
template <class F>
ZOQ_TARGET ZOQ_FLATTEN inline void run_range(const F& f, index_t begin, index_t end) {
  for (index_t i = begin; i < end; ++i) {
    f(i);
  }
}
