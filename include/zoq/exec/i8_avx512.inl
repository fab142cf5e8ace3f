// Products of 8-bit integers with sums in int32 over a block of 64 columns and in float beyond it.
// Part of exec/kernels.hpp, inside namespace avx512.
//
// A block of inputs is rounded to x = s q, one of weights to w = d p, q and p in [-127, 127], with
// scales that fit its largest value. So
//
//     sum x w = s d sum q p
//
// `vpdpbusd` multiplies p + 128, unsigned, with q: its sum starts at -128 sum q. Rounding a weight of
// 4 bits again moves it little: half of 1/127 of the block's largest, where its own step is some 1/8 of
// that. A scale for each 32 columns, with the offsets of Q4_1, costs a sixth of the speed.
// SPDX-License-Identifier: Apache-2.0

/// |x|. As integers these are in the order of the floats, and NaN is the largest.
ZOQ_TARGET inline __m512i size_of(__m512 x) {
  return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}
struct keep_largest {
  ZOQ_TARGET __m512i operator()(__m512i a, __m512i b) const {
    return _mm512_maskz_max_epi32(every, a, b);
  }
};
struct keep_sum {
  ZOQ_TARGET __m512i operator()(__m512i a, __m512i b) const { return _mm512_add_epi32(a, b); }
};

/// Sixteen vectors -> a vector of what is kept of each, in order.
template <class Keep>
ZOQ_TARGET inline __m512i across(Keep keep, __m512i (&v)[16]) {
  ZOQ_UNROLL for (int i = 0; i < 16; i += 2) {
    v[i] = keep(_mm512_maskz_unpacklo_epi32(every, v[i], v[i + 1]),
                _mm512_maskz_unpackhi_epi32(every, v[i], v[i + 1]));
  }
  ZOQ_UNROLL for (int i = 0; i < 16; i += 4) {
    v[i] = keep(_mm512_maskz_unpacklo_epi64(every_other, v[i], v[i + 2]),
                _mm512_maskz_unpackhi_epi64(every_other, v[i], v[i + 2]));
  }
  ZOQ_UNROLL for (int i = 0; i < 16; i += 8) {
    v[i] = keep(_mm512_maskz_shuffle_i32x4(every, v[i], v[i + 4], 0x44),
                _mm512_maskz_shuffle_i32x4(every, v[i], v[i + 4], 0xee));
  }
  return keep(_mm512_maskz_shuffle_i32x4(every, v[0], v[8], 0x88),
              _mm512_maskz_shuffle_i32x4(every, v[0], v[8], 0xdd));
}

struct i8_products : i8_rounding {
  struct input {
    std::int8_t code[block];
    float scale;
    std::int32_t start;  // -128 sum q
  };
  static constexpr index_t columns = block;  // of a step
  static constexpr index_t words = 17;       // codes 16, scale 1
  static constexpr int rows = 4;             // 12 sums in int32, 12 in float
  static constexpr int vecs = 3;
  static constexpr index_t lanes = ZOQ_LANES;
  static constexpr index_t width = vecs * ZOQ_LANES;

  /// n columns -> out [(n + 63) / 64], the rest of the last filled with 0. Weights need no `start`.
  template <bool Starts = true>
  ZOQ_TARGET static void round(const float* x, index_t n, input* out) {
    constexpr index_t together = 16 * block;
    for (index_t c = 0; c < n; c += together, out += 16) {
      const index_t blocks = std::min(together, n - c) / block;
      round_blocks<Starts>(x + c, blocks, out);
      if (c + together > n && n % block != 0) {
        alignas(64) float rest[block] = {};
        std::copy_n(x + c + blocks * block, n % block, rest);
        round_blocks<Starts>(rest, 1, out + blocks);
      }
    }
  }

 private:
  // At most 16 blocks.
  template <bool Starts>
  ZOQ_TARGET static void round_blocks(const float* x, index_t blocks, input* out) {
    __m512i v[16] = {};
    for (index_t b = 0; b < blocks; ++b) {
      const float* at = x + b * block;
      v[b] = keep_largest{}(keep_largest{}(size_of(load(at)), size_of(load(at + 16))),
                            keep_largest{}(size_of(load(at + 32)), size_of(load(at + 48))));
    }
    const __m512 largest = _mm512_castsi512_ps(across(keep_largest{}, v));
    alignas(64) float scale[16], inverse[16];
    store(scale, _mm512_div_ps(largest, broadcast(127.0f)));
    const __mmask16 some = _mm512_cmp_ps_mask(largest, broadcast(tiny), _CMP_GT_OQ);
    store(inverse, _mm512_maskz_div_ps(some, broadcast(127.0f), largest));
    for (__m512i& sum : v) {
      sum = _mm512_set1_epi32(0);
    }
    // Packing goes by lanes of 128 bits: dwords 0, 4, 8, 12, 1, ... of the packed hold 0, 1, 2, ...
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (index_t b = 0; b < blocks; ++b) {
      const __m512 factor = broadcast(inverse[b]);
      __m512i code[4];
      ZOQ_UNROLL for (int i = 0; i < 4; ++i) {
        code[i] =
            _mm512_maskz_cvtps_epi32(every, _mm512_mul_ps(load(x + b * block + 16 * i), factor));
      }
      v[b] =
          _mm512_add_epi32(_mm512_add_epi32(code[0], code[1]), _mm512_add_epi32(code[2], code[3]));
      const __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(code[0], code[1]),
                                                _mm512_packs_epi32(code[2], code[3]));
      _mm512_storeu_si512(out[b].code, _mm512_maskz_permutexvar_epi32(every, order, packed));
    }
    for (index_t b = 0; b < blocks; ++b) {
      out[b].scale = scale[b];
    }
    if constexpr (Starts) {
      alignas(64) std::int32_t sum[16];
      _mm512_store_si512(sum, across(keep_sum{}, v));
      for (index_t b = 0; b < blocks; ++b) {
        out[b].start = static_cast<std::int32_t>(-128U * static_cast<std::uint32_t>(sum[b]));
      }
    }
  }
};

// The compiler keeps these sums in memory when it sees the intrinsic (g++ 12).
ZOQ_TARGET inline __m512i add_dots(__m512i sum, __m512i weight, __m512i input) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weight), "v"(input));
  return sum;
}

template <int M>
ZOQ_TARGET inline void multiply_tile(i8_products, const i8_products::input* a, index_t a_stride,
                                     const float* panel, index_t steps, stretch_ends ends,
                                     float* const* y) {
  constexpr int vecs = i8_products::vecs;
  constexpr index_t width = i8_products::width;
  vec sum[static_cast<std::size_t>(M)][static_cast<std::size_t>(vecs)];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      sum[m][v] = ends.resume ? load(y[m] + v * ZOQ_LANES) : broadcast(0.0f);
    }
  }
  for (index_t k = 0; k < steps; ++k, panel += i8_products::words * width) {
    const auto* x = a + k;
    __m512i dots[static_cast<std::size_t>(M)][static_cast<std::size_t>(vecs)];
    ZOQ_UNROLL for (int m = 0; m < M; ++m) {
      ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
        dots[m][v] = _mm512_set1_epi32(x[m * a_stride].start);
      }
    }
    ZOQ_UNROLL for (int c = 0; c < 16; ++c) {
      __m512i weight[static_cast<std::size_t>(vecs)];
      ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
        weight[v] = _mm512_loadu_si512(panel + c * width + v * ZOQ_LANES);
      }
      ZOQ_UNROLL for (int m = 0; m < M; ++m) {
        int four;
        __builtin_memcpy(&four, x[m * a_stride].code + 4 * c, sizeof four);
        const __m512i input = _mm512_set1_epi32(four);
        ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
          dots[m][v] = add_dots(dots[m][v], weight[v], input);
        }
      }
    }
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      const vec scale = load(panel + 16 * width + v * ZOQ_LANES);
      ZOQ_UNROLL for (int m = 0; m < M; ++m) {
        const vec both = _mm512_mul_ps(scale, broadcast(x[m * a_stride].scale));
        sum[m][v] = _mm512_fmadd_ps(_mm512_maskz_cvtepi32_ps(every, dots[m][v]), both, sum[m][v]);
      }
    }
  }
  store_tile(sum, ends, y);
}

/// One block of sixteen rows: codes p + 128 of four columns to a lane, w = d p.
struct i8_block {
  __m512i code[16];
  __m512 d;

  /// Scales to the largest size; returns 1 / d, or 0.
  ZOQ_TARGET vec fit(__m512i sizes) {
    const vec largest = _mm512_castsi512_ps(sizes);
    d = _mm512_div_ps(largest, broadcast(127.0f));
    const __mmask16 some = _mm512_cmp_ps_mask(largest, broadcast(i8_products::tiny), _CMP_GT_OQ);
    return _mm512_maskz_div_ps(some, broadcast(127.0f), largest);
  }
};

struct keep_codes {
  __m512i* to;
  ZOQ_TARGET void operator()(index_t i, vec v) const {
    to[i] = _mm512_xor_si512(_mm512_castps_si512(v), _mm512_set1_epi8(static_cast<char>(0x80)));
  }
};

/// `n` columns from `begin` on, at most 64; the rest is 0. Any format: what it decodes to is rounded
/// row by row, as inputs are, and turned.
template <quant_scheme S>
ZOQ_TARGET inline void encode_block(const packed_view<S>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  constexpr index_t block = i8_products::block;
  alignas(64) float rows[16 * block];
  decode_rows(w, first, begin, n, block, rows);
  i8_products::input rounded[16];
  i8_products::round<false>(rows, 16 * block, rounded);
  alignas(64) std::int32_t codes[16 * 16];
  alignas(64) float scale[16];
  ZOQ_UNROLL for (int lane = 0; lane < 16; ++lane) {
    __builtin_memcpy(codes + 16 * lane, rounded[lane].code, sizeof rounded[lane].code);
    scale[lane] = rounded[lane].scale;
  }
  turn_square(reinterpret_cast<const float*>(codes), 16, keep_codes{out.code});
  out.d = load(scale);
}

/// Two blocks of 4-bit codes c, w = d c + m: what each code becomes is looked up in a table of 16.
template <quant_scheme S, class Scale>
ZOQ_TARGET inline void encode_nibbles(const packed_view<S>& w, index_t first, index_t begin,
                                      index_t n, const Scale& scale_of, i8_block& out) {
  row_blocks<S> rows(w, first, begin);
  const index_t halves = n > 32 ? 2 : 1;
  vec d[2], m[2];
  alignas(64) __m512i bytes[2][4];
  __m512i sizes = _mm512_set1_epi32(0);
  for (index_t h = 0; h < halves; ++h) {
    scale_of(rows, d[h], m[h]);
    sizes = keep_largest{}(sizes, size_of(m[h]));
    sizes = keep_largest{}(sizes, size_of(_mm512_fmadd_ps(d[h], broadcast(15.0f), m[h])));
    const std::uint8_t* row[16];
    ZOQ_UNROLL for (int lane = 0; lane < 16; ++lane) { row[lane] = rows.at[lane]->q; }
    ZOQ_UNROLL for (int i = 0; i < 4; ++i) {
      bytes[h][i] = load_four(row[i], row[i + 4], row[i + 8], row[i + 12]);
    }
    rows.next();
  }
  const vec inverse = out.fit(sizes);
  const vec counting = counting_from(0);
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i mask = _mm512_set1_epi8(0x0f);
  for (index_t h = 0; h < 2; ++h) {
    if (h >= halves) {
      for (int c = 0; c < 8; ++c) {
        out.code[8 * h + c] = zero;
      }
      break;
    }
    alignas(64) float step[16], base[16];
    store(step, _mm512_mul_ps(d[h], inverse));
    store(base, _mm512_mul_ps(m[h], inverse));
    alignas(64) std::uint8_t table[16][16];  // of rows 0, 4, 8, 12, 1, ...: as load_four has them
    ZOQ_UNROLL for (int lane = 0; lane < 16; ++lane) {
      const __m512i code = _mm512_maskz_cvtps_epi32(
          every, _mm512_fmadd_ps(counting, broadcast(step[lane]), broadcast(base[lane])));
      _mm_store_si128(reinterpret_cast<__m128i*>(table[lane % 4 * 4 + lane / 4]),
                      _mm512_maskz_cvtepi32_epi8(every, code));
    }
    __m512i low[4], high[4];
    ZOQ_UNROLL for (int i = 0; i < 4; ++i) {
      const __m512i codes = _mm512_xor_si512(_mm512_load_si512(table[4 * i]), zero);
      low[i] = _mm512_shuffle_epi8(codes, _mm512_and_si512(bytes[h][i], mask));
      high[i] = _mm512_shuffle_epi8(
          codes, _mm512_and_si512(_mm512_maskz_srli_epi32(every, bytes[h][i], 4), mask));
    }
    turn_lanes(low, out.code + 8 * h);
    turn_lanes(high, out.code + 8 * h + 4);
  }
}

ZOQ_TARGET inline void encode_block(const packed_view<q4_1>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  encode_nibbles(
      w, first, begin, n,
      [](const row_blocks<q4_1>& rows, vec& d, vec& m) ZOQ_TARGET {
        d = rows.halves([](const q4_1::block& b) { return b.d; });
        m = rows.halves([](const q4_1::block& b) { return b.m; });
      },
      out);
}
ZOQ_TARGET inline void encode_block(const packed_view<q4_0>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  encode_nibbles(
      w, first, begin, n,
      [](const row_blocks<q4_0>& rows, vec& d, vec& m) ZOQ_TARGET {
        d = rows.halves([](const q4_0::block& b) { return b.d; });
        m = _mm512_mul_ps(d, broadcast(-8.0f));
      },
      out);
}

/// Two blocks of 8-bit codes, w = d c: the codes of the larger scale stay, the others shrink. (A code
/// of -128 under a negative scale, which no encoder writes, becomes 127.)
ZOQ_TARGET inline void encode_block(const packed_view<q8_0>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  row_blocks<q8_0> rows(w, first, begin);
  const index_t halves = n > 32 ? 2 : 1;
  const auto scale_of = [](const q8_0::block& b) { return b.d; };
  vec d[2] = {rows.halves(scale_of), broadcast(0.0f)};
  row_blocks<q8_0> next = rows;
  if (halves == 2) {
    next.next();
    d[1] = next.halves(scale_of);
  }
  out.d = _mm512_castsi512_ps(keep_largest{}(size_of(d[0]), size_of(d[1])));
  const __mmask16 some = _mm512_cmp_ps_mask(out.d, broadcast(0.0f), _CMP_GT_OQ);
  alignas(64) std::int32_t ratio[2][16];  // d / out.d in steps of 2^-15
  ZOQ_UNROLL for (int h = 0; h < 2; ++h) {
    const vec r = _mm512_mul_ps(_mm512_maskz_div_ps(some, d[h], out.d), broadcast(32767.0f));
    _mm512_store_si512(ratio[h], _mm512_maskz_cvtps_epi32(every, r));
  }
  // Packing takes turns between the two by 8 bytes.
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  alignas(64) std::int8_t codes[16][64];
  ZOQ_UNROLL for (int lane = 0; lane < 16; ++lane) {
    __m512i half[2] = {_mm512_set1_epi32(0), _mm512_set1_epi32(0)};
    for (index_t h = 0; h < halves; ++h) {
      const auto* q = h == 0 ? rows.at[lane]->q : next.at[lane]->q;
      half[h] = _mm512_mulhrs_epi16(
          _mm512_maskz_cvtepi8_epi16(every_half,
                                     _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q))),
          _mm512_set1_epi16(static_cast<short>(ratio[h][lane])));
    }
    _mm512_store_si512(codes[lane], _mm512_maskz_permutexvar_epi64(
                                        every_other, order, _mm512_packs_epi16(half[0], half[1])));
  }
  turn_square(reinterpret_cast<const float*>(codes), 16, keep_codes{out.code});
}

template <quant_scheme S>
ZOQ_TARGET inline void fill_panel(i8_products, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  constexpr index_t width = i8_products::width, block = i8_products::block;
  for (index_t v = 0; v < width && first + v < source.outputs(); v += ZOQ_LANES) {
    float* step = panel + v;
    for (index_t c = 0; c < depth; c += block, step += i8_products::words * width) {
      i8_block b;
      encode_block(source.w, first + v, begin + c, std::min(block, depth - c), b);
      ZOQ_UNROLL for (int i = 0; i < 16; ++i) { _mm512_storeu_si512(step + i * width, b.code[i]); }
      store(step + 16 * width, b.d);
    }
  }
}
