// The CPU kernels of one instruction set. exec/kernels.hpp includes this file once for each, inside
// a namespace of its own, with ZOQ_TARGET set to the function attribute, a type `vec` of ZOQ_LANES
// floats (load, store, broadcast, multiply_add, transpose) and the tile sizes ZOQ_ROWS x ZOQ_VECS.
//
// No include guard: that is the point.
// SPDX-License-Identifier: Apache-2.0

/// Products of floats: a step of a panel is one column.
struct f32_products {
  using input = float;
  static constexpr index_t columns = 1;  // of a step
  static constexpr index_t words = 1;    // floats that a panel holds for each step and output
  static constexpr int rows = ZOQ_ROWS;  // of a tile
  static constexpr int vecs = ZOQ_VECS;
  static constexpr index_t lanes = ZOQ_LANES;
  static constexpr index_t width = vecs * ZOQ_LANES;  // outputs of a panel
  ZOQ_TARGET static vec spread(const input* a) { return broadcast(*a); }
  ZOQ_TARGET static vec add(vec input, vec weight, vec sum) {
    return multiply_add(input, weight, sum);
  }
};

/// How a stretch of the depth begins and ends: it goes on with the sums of earlier ones; after it,
/// the second row of every pair, a difference so far, gets the first one on top, and every row what
/// is added to it.
struct stretch_ends {
  bool resume, join_pairs;
  const float* added;  // [M, Products::width], or none
};

template <std::size_t M, std::size_t Vecs>
ZOQ_TARGET inline void store_tile(const vec (&sum)[M][Vecs], stretch_ends ends, float* const* y) {
  ZOQ_UNROLL for (std::size_t m = 0; m < M; ++m) {
    ZOQ_UNROLL for (std::size_t v = 0; v < Vecs; ++v) {
      const bool join = m % 2 == 1 && ends.join_pairs;
      const vec whole = join ? add(sum[m - m % 2][v], sum[m][v]) : sum[m][v];
      store(y[m] + v * ZOQ_LANES, ends.added == nullptr
                                      ? whole
                                      : add(whole, load(ends.added + (m * Vecs + v) * ZOQ_LANES)));
    }
  }
}

/// y[m][j] = (resume ? y[m][j] : 0) + sum_k a[m, k] panel[k, j] for M rows and a whole panel.
/// The sum runs over k in order, one fused multiply-add each: so a row's bits depend neither on
/// the tile that it falls in nor on the rows beside it.
template <int M, class Products>
ZOQ_TARGET inline void multiply_tile(Products, const typename Products::input* a, index_t a_stride,
                                     const float* panel, index_t steps, stretch_ends ends,
                                     float* const* y) {
  constexpr int vecs = Products::vecs;
  vec sum[static_cast<std::size_t>(M)][static_cast<std::size_t>(vecs)];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      sum[m][v] = ends.resume ? load(y[m] + v * ZOQ_LANES) : broadcast(0.0f);
    }
  }
  for (index_t k = 0; k < steps; ++k) {
    vec weight[static_cast<std::size_t>(vecs)];
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      weight[v] = load(panel + k * Products::width + v * ZOQ_LANES);
    }
    ZOQ_UNROLL for (int m = 0; m < M; ++m) {
      const vec input = Products::spread(a + m * a_stride + k);
      ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
        sum[m][v] = Products::add(input, weight[v], sum[m][v]);
      }
    }
  }
  store_tile(sum, ends, y);
}

/// `multiply_tile` for a number of rows known at run time, 1 to Products::rows.
template <class Products, int M = Products::rows>
ZOQ_TARGET inline void multiply_rows(Products products, index_t rows,
                                     const typename Products::input* a, index_t a_stride,
                                     const float* panel, index_t steps, stretch_ends ends,
                                     float* const* y) {
  if (rows == M) {
    multiply_tile<M>(products, a, a_stride, panel, steps, ends, y);
  } else if constexpr (M > 1) {
    multiply_rows<Products, M - 1>(products, rows, a, a_stride, panel, steps, ends, y);
  }
}

/// Where a turned square goes, or its vectors [first, end): put(i, vector i).
struct store_rows {
  float* to;
  index_t stride;
  ZOQ_TARGET void operator()(index_t i, vec v) const { store(to + i * stride, v); }
};
struct store_some {
  float* to;
  index_t stride, first, end;
  ZOQ_TARGET void operator()(index_t i, vec v) const {
    if (i >= first && i < end) {
      store(to + (i - first) * stride, v);
    }
  }
};

/// A square of floats turned: put(j, {from[j], from[stride + j], ...}).
struct load_rows {
  const float* from;
  index_t stride;
  ZOQ_TARGET vec operator()(index_t i) const { return load(from + i * stride); }
};
template <class Put>
ZOQ_TARGET inline void turn_square(const float* from, index_t stride, Put put) {
  turn_vectors(load_rows{from, stride}, put);
}

/// ZOQ_LANES rows of `w` from `first` on, columns [begin, begin + count), as floats: out[lane * stride
/// + c], the rest of the stride filled with 0. Lanes beyond the last row repeat it. begin and count are
/// multiples of the block.
template <quant_scheme S>
ZOQ_TARGET ZOQ_FLATTEN inline void decode_rows(const packed_view<S>& w, index_t first,
                                               index_t begin, index_t count, index_t stride,
                                               float* out) {
  for (index_t lane = 0; lane < ZOQ_LANES; ++lane, out += stride) {
    const index_t o = std::min(first + lane, w.shape[0] - 1);
    const typename S::row row = w.row(o);
    const typename S::block* block = &w.block(o, begin / S::block_size);
    index_t i = 0;
    if constexpr (requires { widen(block); }) {
      for (; i + ZOQ_LANES <= count; i += ZOQ_LANES, block += ZOQ_LANES) {
        store(out + i, widen(block));
      }
    }
    for (; i < count; i += S::block_size, ++block) {
      S::decode(row, *block, out + i);
    }
    std::fill(out + count, out + stride, 0.0f);
  }
}

/// The same, turned so that a vector holds one column: out[c * stride + lane]. Any format, through its
/// decode; some have a faster overload.
template <quant_scheme S>
ZOQ_TARGET inline void decode_columns(const packed_view<S>& w, index_t first, index_t begin,
                                      index_t count, float* out, index_t stride) {
  constexpr index_t stretch = S::block_size > 32 ? S::block_size : 32;
  alignas(64) float rows[static_cast<std::size_t>(ZOQ_LANES * stretch)];
  index_t c = 0;
  if constexpr (requires { widen(&w.block(0, 0)); }) {  // no blocks: straight from where they lie
    for (; c + ZOQ_LANES <= count; c += ZOQ_LANES) {
      const auto row = [&](index_t lane) ZOQ_TARGET {
        return widen(&w.block(std::min(first + lane, w.shape[0] - 1), begin + c));
      };
      turn_vectors(row, store_rows{out + c * stride, stride});
    }
  }
  for (; c < count; c += stretch) {
    const index_t n = std::min(stretch, count - c);
    decode_rows(w, first, begin + c, n, stretch, rows);
    index_t i = 0;
    for (; i + ZOQ_LANES <= n; i += ZOQ_LANES) {
      turn_square(rows + i, stretch, store_rows{out + (c + i) * stride, stride});
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
requires requires(const Source& source, float* panel) {
  source.template fill<1>(index_t{}, index_t{}, index_t{}, index_t{}, panel);
}
ZOQ_TARGET ZOQ_FLATTEN inline void fill_panel(f32_products, const Source& source, index_t first,
                                              index_t begin, index_t depth, float* panel) {
  constexpr int wide = f32_products::width;
  const index_t width = std::min<index_t>(wide, source.outputs() - first);
  source.template fill<wide>(first, width, begin, depth, panel);
}
template <quant_scheme S>
ZOQ_TARGET inline void fill_panel(f32_products, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  constexpr index_t width = f32_products::width;
  for (index_t v = 0; v < width && first + v < source.outputs(); v += ZOQ_LANES) {
    decode_columns(source.w, first + v, begin, depth, panel + v, width);
  }
}

#ifndef ZOQ_HAS_BF16_PRODUCTS
/// Products of rounded values where there is no instruction for them: the values stay floats, the
/// products of two are exact or nearly.
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
  bf16_products::round(panel, depth * f32_products::width, panel);
}
#endif
#ifndef ZOQ_HAS_I8_PRODUCTS
struct i8_products : f32_products, i8_rounding {
  ZOQ_TARGET static void round(const float* x, index_t n, float* out) {
    for (index_t c = 0; c < n; c += block) {
      const index_t count = std::min(block, n - c);
      float largest = 0;
      for (index_t i = 0; i < count; ++i) {
        largest = std::max(largest, std::fabs(x[c + i]));
      }
      const float scale = largest / 127, inverse = largest > tiny ? 127 / largest : 0.0f;
      for (index_t i = 0; i < count; ++i) {
        out[c + i] = std::nearbyint(x[c + i] * inverse) * scale;
      }
    }
  }
};
template <quant_scheme S>
ZOQ_TARGET inline void fill_panel(i8_products, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  fill_panel(f32_products{}, source, first, begin, depth, panel);
}
#endif

/// Rows of a format without kernels of its own, `count` from `first` on, columns [begin, begin + n):
/// out[row * n + c]. A whole vector of rows is written. Compiled once for all products.
__attribute__((noinline)) ZOQ_TARGET inline void decode_any_rows(const any_packed& any,
                                                                 index_t first, index_t count,
                                                                 index_t begin, index_t n,
                                                                 float* out) {
  any.visit([&]<quant_scheme S>(const packed_view<S>& w) ZOQ_TARGET {
    if constexpr (!has_own_kernels<S>) {
      for (index_t v = 0; v < count; v += ZOQ_LANES) {
        decode_rows(w, first + v, begin, n, n, out + v * n);
      }
    }
  });
}

/// A panel of such a format: a stretch of rows at a time as floats, and these as a panel.
template <class Products>
ZOQ_TARGET inline void fill_panel(Products products, const any_row_panels& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  constexpr index_t stretch = any_row_panels::granule(), width = Products::width;
  static_assert(stretch % Products::columns == 0);
  static_assert(panel_floats / (Products::words * width) * Products::columns >= stretch);
  alignas(64) f32_format::block rows[static_cast<std::size_t>(width * stretch)];
  const index_t outputs = std::min<index_t>(width, source.outputs() - first);
  for (index_t k = 0; k < depth; k += stretch) {
    const index_t n = std::min(stretch, depth - k);
    decode_any_rows(source.w, first, outputs, begin + k, n, &rows[0].value);
    const row_panels<f32_format> floats{{rows, nullptr, {outputs, n}}};
    fill_panel(products, floats, 0, 0, n,
               panel + k / Products::columns * (Products::words * width));
  }
}

/// A row of inputs as Products takes them: x, or x - minus where there is one. n values.
template <class Products>
ZOQ_TARGET inline void round_row(Products, const float* x, const float* minus, index_t n,
                                 typename Products::input* out) {
  if (minus == nullptr) {
    return Products::round(x, n, out);
  }
  constexpr index_t most = 512;  // a multiple of every block
  alignas(64) float difference[most];
  for (index_t c = 0; c < n; c += most) {
    const index_t count = std::min(most, n - c);
    for (index_t i = 0; i < count; ++i) {
      difference[i] = x[c + i] - minus[c + i];
    }
    Products::round(difference, count, out + c / Products::columns);
  }
}

/// A run of slots through one panel.
template <class Products>
ZOQ_TARGET inline void multiply_slots(Products products, const typename Products::input* a,
                                      index_t a_stride, const slot_range& slots, const float* panel,
                                      index_t steps, stretch_ends ends, index_t first,
                                      index_t width, const output_rows& y, fetch_ahead& next) {
  constexpr index_t wide = Products::width;
  // Even tiles rather than a short tail; of pairs, whole ones.
  const index_t unit = y.pairs ? 2 : 1, units = slots.count / unit;
  const index_t tiles = (slots.count + Products::rows - 1) / Products::rows;
  for (index_t t = 0; t < tiles; ++t) {
    const index_t slot = slots.first + units * t / tiles * unit;
    const index_t count = slots.first + units * (t + 1) / tiles * unit - slot;
    float* to[static_cast<std::size_t>(Products::rows)];
    for (index_t m = 0; m < count; ++m) {
      to[m] = y.slot(slot + m) + first;
    }
    const auto* from = a + slot * a_stride;
    stretch_ends here = ends;
    if (ends.added != nullptr) {
      here.added = ends.added + (slot - slots.first) * wide;
    }
    next.some();
    if (width == wide) {
      multiply_rows(products, count, from, a_stride, panel, steps, here, to);
    } else {  // the last panel is narrow: go through a whole tile
      alignas(64) float tile[static_cast<std::size_t>(Products::rows * wide)] = {};
      float* whole[static_cast<std::size_t>(Products::rows)];
      for (index_t m = 0; m < count; ++m) {
        whole[m] = tile + m * wide;
        std::copy_n(to[m], width, whole[m]);
      }
      multiply_rows(products, count, from, a_stride, panel, steps, here, whole);
      for (index_t m = 0; m < count; ++m) {
        std::copy_n(whole[m], width, to[m]);
      }
    }
  }
}

/// The slots through a panel of outputs, stretch by stretch of the depth.
template <class Products>
__attribute__((noinline)) ZOQ_TARGET inline void multiply_stretches(
    Products products, const panel_fill& from, const typename Products::input* a, index_t a_stride,
    const slot_range& slots, const output_rows& y, added_to_slots added) {
  constexpr index_t words = Products::words * Products::width;  // floats of a step
  constexpr index_t together = 384;  // slots of a run: whole tiles, and whole blocks of pairs
  alignas(64) float panel[panel_floats];
  alignas(64) float sums[together * Products::width];
  // Nearly even stretches of whole granules, of which `most` columns fit a panel.
  const index_t granule = std::max(from.granule, Products::columns);
  const index_t most = panel_floats / words * Products::columns / granule * granule;
  const index_t stretches = std::max<index_t>(1, (from.depth + most - 1) / most);
  const index_t even = (from.depth + stretches - 1) / stretches;
  const index_t stretch = std::max(granule, (even + granule - 1) / granule * granule);
  fetch_ahead next(from.next, stretches * ((slots.count + Products::rows - 1) / Products::rows));
  for (index_t begin = 0; begin == 0 || begin < from.depth; begin += stretch) {
    const index_t depth = std::min(stretch, from.depth - begin);
    const bool last = begin + depth == from.depth;
    from.fill(begin, depth, panel);
    for (index_t run = 0; run < slots.count; run += together) {
      const slot_range some{slots.first + run, std::min(together, slots.count - run)};
      multiply_slots(products, a + begin / Products::columns, a_stride, some, panel,
                     (depth + Products::columns - 1) / Products::columns,
                     {begin != 0, y.pairs && last, last ? added(some, sums) : nullptr}, from.first,
                     from.width, y, next);
    }
  }
}

/// y[slot][first + j] = sum_k a[slot, k] w[first + j, k] for the slots and the panel of outputs at
/// `first`, and what is added on top. Every weight is decoded once, whatever the number of rows.
template <class Products, class Source>
ZOQ_TARGET inline void multiply_panel(Products products, const Source& source, index_t first,
                                      const typename Products::input* a, index_t a_stride,
                                      const slot_range& slots, const output_rows& y,
                                      added_to_slots added) {
  const index_t width = std::min<index_t>(Products::width, source.outputs() - first);
  const auto fill = [&](index_t begin, index_t depth, float* panel)
                        ZOQ_TARGET { fill_panel(products, source, first, begin, depth, panel); };
  multiply_stretches(products,
                     {first, width, source.depth(), source.granule(),
                      bytes_of_outputs(source, first + width, Products::width), fill},
                     a, a_stride, slots, y, added);
}
