// Products of bfloat16 with sums in float: two columns to a step. Part of exec/kernels.hpp, inside
// namespace avx512.
//
// Weights and inputs are rounded to nearest once; `vdpbf16ps` multiplies exactly and adds in float.
// SPDX-License-Identifier: Apache-2.0

struct bf16_products {
  using input = std::uint32_t;           // columns 2 k (low half) and 2 k + 1
  static constexpr index_t columns = 2;  // of a step
  static constexpr index_t words = 1;
  static constexpr int rows = ZOQ_ROWS;
  static constexpr int vecs = ZOQ_VECS;
  static constexpr index_t lanes = ZOQ_LANES;
  static constexpr index_t width = vecs * ZOQ_LANES;
  ZOQ_TARGET static vec spread(const input* a) {
    return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(*a)));
  }
  ZOQ_TARGET static vec add(vec input, vec weight, vec sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)weight, (__m512bh)input);
  }
  /// A row of x as pairs: out [(n + 1) / 2], an odd end filled with 0.
  ZOQ_TARGET static void round(const float* x, index_t n, input* out) {
    index_t c = 0;
    for (; c + 32 <= n; c += 32) {
      const __m512bh both = _mm512_cvtne2ps_pbh(load(x + c + 16), load(x + c));
      _mm512_storeu_si512(out + c / 2, (__m512i)both);
    }
    for (; c < n; c += 2) {
      const std::uint32_t low = to_bf16(x[c]).bits;
      const std::uint32_t high = c + 1 < n ? to_bf16(x[c + 1]).bits : 0;
      out[c / 2] = low | high << 16;
    }
  }
};

/// Two columns of sixteen outputs -> a lane for each output, the first column in its low half.
ZOQ_TARGET inline vec pair_columns(vec even, vec odd) {
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
  alignas(64) static constexpr std::uint16_t order[32] = {
      0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_castsi512_ps(
      _mm512_maskz_permutexvar_epi16(every_half, _mm512_load_si512(order), halves));
}

/// Sixteen outputs at depth [begin, begin + n), n <= stretch: the pairs of step i at out + i * width.
template <quant_scheme S>
ZOQ_TARGET inline void fill_steps(const packed_view<S>& w, index_t first, index_t begin, index_t n,
                                  float* out) {
  constexpr index_t stretch = row_panels<S>::granule();
  constexpr index_t width = bf16_products::width;
  alignas(64) float values[static_cast<std::size_t>(stretch * ZOQ_LANES)];
  if constexpr (turns_codes<S>) {
    decode_columns(w, first, begin, n, values, ZOQ_LANES);
    for (index_t i = 0; i < n; i += 2, out += width) {
      store(out, pair_columns(load(values + i * ZOQ_LANES), load(values + (i + 1) * ZOQ_LANES)));
    }
  } else {  // rounded row by row, and turned as pairs
    alignas(64) std::uint32_t pairs[static_cast<std::size_t>(stretch / 2 * ZOQ_LANES)];
    if constexpr (requires { widen(&w.block(0, 0)); }) {
      if (n == stretch) {
        for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
          const auto* p = &w.block(std::min(first + lane, w.shape[0] - 1), begin);
          const __m512bh both = _mm512_cvtne2ps_pbh(widen(p + 16), widen(p));
          _mm512_store_si512(pairs + lane * 16, (__m512i)both);
        }
        return turn_square(reinterpret_cast<const float*>(pairs), 16, store_rows{out, width});
      }
    }
    decode_rows(w, first, begin, n, stretch, values);
    bf16_products::round(values, stretch * ZOQ_LANES, pairs);
    for (index_t i = 0; i < n; i += 2 * ZOQ_LANES) {
      const index_t steps = std::min<index_t>(ZOQ_LANES, (n - i + 1) / 2);
      turn_square(reinterpret_cast<const float*>(pairs) + i / 2, stretch / 2,
                  store_some{out + i / 2 * width, width, 0, steps});
    }
  }
}

template <quant_scheme S>
ZOQ_TARGET inline void fill_panel(bf16_products, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  constexpr index_t stretch = row_panels<S>::granule();
  constexpr index_t width = bf16_products::width;
  for (index_t v = 0; v < width && first + v < source.outputs(); v += ZOQ_LANES) {
    for (index_t k = 0; k < depth; k += stretch) {
      fill_steps(source.w, first + v, begin + k, std::min(stretch, depth - k),
                 panel + k / 2 * width + v);
    }
  }
}
