// The CPU kernels of one instruction set. exec/kernels.hpp includes this file once for each, inside
// a namespace of its own, with ZOQ_TARGET set to the function attribute, a type `vec` of ZOQ_LANES
// floats (load, store, broadcast, multiply_add, transpose) and the tile sizes ZOQ_ROWS x ZOQ_VECS.
//
// No include guard: that is the point.
// SPDX-License-Identifier: Apache-2.0

inline constexpr int tile_rows = ZOQ_ROWS;
inline constexpr int panel_width = ZOQ_VECS * ZOQ_LANES;

/// Products of floats: a step of a panel is one column.
struct f32_products {
  using input = float;
  static constexpr index_t columns = 1;  // of a step
  static constexpr index_t width = panel_width;
  ZOQ_TARGET static vec spread(const input* a) { return broadcast(*a); }
  ZOQ_TARGET static vec add(vec input, vec weight, vec sum) {
    return multiply_add(input, weight, sum);
  }
};

/// y[m, j] = (resume ? y[m, j] : 0) + sum_k a[m, k] panel[k, j] for M rows and a whole panel.
/// The sum runs over k in order, one fused multiply-add each: so a row's bits depend neither on
/// the tile that it falls in nor on the rows beside it.
template <class Products, int M>
ZOQ_TARGET inline void multiply_tile(const typename Products::input* a, index_t a_stride,
                                     const float* panel, index_t steps, bool resume, float* y,
                                     index_t y_stride) {
  vec sum[static_cast<std::size_t>(M)][ZOQ_VECS];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
      sum[m][v] = resume ? load(y + m * y_stride + v * ZOQ_LANES) : broadcast(0.0f);
    }
  }
  for (index_t k = 0; k < steps; ++k) {
    vec weight[ZOQ_VECS];
    ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
      weight[v] = load(panel + k * panel_width + v * ZOQ_LANES);
    }
    ZOQ_UNROLL for (int m = 0; m < M; ++m) {
      const vec input = Products::spread(a + m * a_stride + k);
      ZOQ_UNROLL for (int v = 0; v < ZOQ_VECS; ++v) {
        sum[m][v] = Products::add(input, weight[v], sum[m][v]);
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
template <class Products, int M = tile_rows>
ZOQ_TARGET inline void multiply_rows(index_t rows, const typename Products::input* a,
                                     index_t a_stride, const float* panel, index_t steps,
                                     bool resume, float* y, index_t y_stride) {
  if (rows == M) {
    multiply_tile<Products, M>(a, a_stride, panel, steps, resume, y, y_stride);
  } else if constexpr (M > 1) {
    multiply_rows<Products, M - 1>(rows, a, a_stride, panel, steps, resume, y, y_stride);
  }
}

/// ZOQ_LANES rows of `w` from `first` on, columns [begin, begin + count), turned so that a vector
/// holds one column: out[c * stride + lane]. Lanes beyond the last row repeat it. begin and count are
/// multiples of the block. Any format, through its decode; some have a faster overload.
template <quant_scheme S>
ZOQ_TARGET ZOQ_FLATTEN inline void decode_columns(const packed_view<S>& w, index_t first,
                                                  index_t begin, index_t count, float* out,
                                                  index_t stride) {
  constexpr index_t stretch = S::block_size > 32 ? S::block_size : 32;
  alignas(64) float rows[static_cast<std::size_t>(ZOQ_LANES * stretch)];
  for (index_t c = 0; c < count; c += stretch) {
    const index_t n = std::min(stretch, count - c);
    for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
      const index_t o = std::min(first + lane, w.shape[0] - 1);
      const typename S::row row = w.row(o);
      const typename S::block* block = &w.block(o, (begin + c) / S::block_size);
      for (index_t i = 0; i < n; i += S::block_size, ++block) {
        S::decode(row, *block, rows + lane * stretch + i);
      }
    }
    index_t i = 0;
    for (; i + ZOQ_LANES <= n; i += ZOQ_LANES) {
      transpose(rows + i, stretch, out + (c + i) * stride, stride);
    }
    for (; i < n; ++i) {
      for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
        out[(c + i) * stride + lane] = rows[lane * stretch + i];
      }
    }
  }
}

/// Fills a panel with the outputs from `first` on, at depth [begin, begin + depth).
template <class Source>
ZOQ_TARGET ZOQ_FLATTEN inline void fill_panel(f32_products, const Source& source, index_t first,
                                              index_t begin, index_t depth, float* panel) {
  const index_t width = std::min<index_t>(panel_width, source.outputs() - first);
  source.template fill<panel_width>(first, width, begin, depth, panel);
}
template <quant_scheme S>
ZOQ_TARGET inline void fill_panel(f32_products, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  for (index_t v = 0; v < panel_width && first + v < source.outputs(); v += ZOQ_LANES) {
    decode_columns(source.w, first + v, begin, depth, panel + v, panel_width);
  }
}

#ifndef ZOQ_HAS_BF16
/// Products of values rounded to bfloat16, where there is no instruction for them: the values stay
/// floats, the products of two are exact.
struct bf16_products : f32_products {
  ZOQ_TARGET static void round(const float* x, index_t n, float* out) {
    for (index_t i = 0; i < n; ++i) {
      out[i] = to_float(to_bf16(x[i]));
    }
  }
};
template <quant_scheme S>
ZOQ_TARGET inline void fill_panel(bf16_products, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  fill_panel(f32_products{}, source, first, begin, depth, panel);
  bf16_products::round(panel, depth * panel_width, panel);
}
#endif

/// y[r, first + j] = sum_k a[r, k] w[first + j, k] for `rows` rows and the panel of outputs at
/// `first`. Every weight is decoded once, whatever the number of rows.
template <class Products, class Source>
ZOQ_TARGET inline void multiply_panel(Products products, const Source& source, index_t first,
                                      const typename Products::input* a, index_t a_stride,
                                      index_t rows, float* y, index_t y_stride) {
  alignas(64) float panel[panel_depth * panel_width];
  constexpr index_t most = panel_depth * Products::columns;  // columns of a panel
  const index_t width = std::min<index_t>(panel_width, source.outputs() - first);
  const index_t tiles = (rows + tile_rows - 1) / tile_rows;
  const index_t stretches = std::max<index_t>(1, (source.depth() + most - 1) / most);
  // Nearly even stretches of whole granules. `most` is a multiple of these, so none is longer.
  const index_t even = (source.depth() + stretches - 1) / stretches;
  const index_t stretch = (even + source.granule() - 1) / source.granule() * source.granule();
  index_t begin = 0;
  for (index_t s = 0; s < stretches; ++s) {
    const index_t end = std::min(begin + stretch, source.depth());
    fill_panel(products, source, first, begin, end - begin, panel);
    const index_t steps = (end - begin + Products::columns - 1) / Products::columns;
    for (index_t t = 0; t < tiles; ++t) {  // even tiles rather than a short tail
      const index_t row = rows * t / tiles;
      const index_t count = rows * (t + 1) / tiles - row;
      const auto* from = a + row * a_stride + begin / Products::columns;
      float* to = y + row * y_stride + first;
      if (width == panel_width) {
        multiply_rows<Products>(count, from, a_stride, panel, steps, s != 0, to, y_stride);
      } else {  // the last panel is narrow: go through a whole tile
        alignas(64) float tile[tile_rows * panel_width] = {};
        for (index_t m = 0; m < count; ++m) {
          std::copy_n(to + m * y_stride, width, tile + m * panel_width);
        }
        multiply_rows<Products>(count, from, a_stride, panel, steps, s != 0, tile, panel_width);
        for (index_t m = 0; m < count; ++m) {
          std::copy_n(tile + m * panel_width, width, to + m * y_stride);
        }
      }
    }
    begin = end;
  }
}

/// f(i) for i in [begin, end), compiled for this instruction set.
template <class F>
ZOQ_TARGET ZOQ_FLATTEN inline void run_range(const F& f, index_t begin, index_t end) {
  for (index_t i = begin; i < end; ++i) {
    f(i);
  }
}
