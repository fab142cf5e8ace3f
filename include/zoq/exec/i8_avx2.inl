// Products of 8-bit integers where the processor multiplies them by pairs of 16 bits (`vpmaddwd`), with sums
// in int32 over a block of 64 columns and in float beyond it. Part of exec/kernels.hpp, inside namespace avx2.
//
// Inputs and weights are rounded as i8_avx512.inl says, x = s q and w = d p with q and p in [-127, 127].
// Codes are kept as 16 bits, two columns to a lane: half the bytes of floats, and twice the products of an
// instruction.
// SPDX-License-Identifier: Apache-2.0

/// |x|. As integers these are in the order of the floats, and NaN is the largest.
ZOQ_TARGET inline __m256i size_of(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}

struct i8_products : i8_rounding {
  struct input {
    std::int16_t code[block];
    float scale;
  };
  static constexpr index_t columns = block;  // of a step
  static constexpr index_t words = 33;       // codes 32, scale 1
  static constexpr int rows = 4;             // 8 sums in int32; those in float wait in memory
  static constexpr int vecs = 2;
  static constexpr index_t lanes = ZOQ_LANES;
  static constexpr index_t width = vecs * ZOQ_LANES;

  /// Sixteen codes of two times eight floats, in order.
  ZOQ_TARGET static __m256i codes(__m256 low, __m256 high, __m256 factor) {
    const __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, factor)),
                                              _mm256_cvtps_epi32(_mm256_mul_ps(high, factor)));
    return _mm256_permute4x64_epi64(packed, 0xd8);  // packing goes by lanes of 128 bits
  }

  /// 64 floats -> their codes and scale.
  ZOQ_TARGET static float round_block(const float* x, __m256i (&code)[4]) {
    __m256i largest = size_of(load(x));
    ZOQ_UNROLL for (int i = 1; i < 8; ++i) {
      largest = _mm256_max_epi32(largest, size_of(load(x + 8 * i)));
    }
    __m128i four =
        _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    const float most = _mm_cvtss_f32(_mm_castsi128_ps(four));
    const vec inverse = broadcast(most > tiny ? 127 / most : 0.0f);
    ZOQ_UNROLL for (int i = 0; i < 4; ++i) {
      code[i] = codes(load(x + 16 * i), load(x + 16 * i + 8), inverse);
    }
    return most / 127;
  }

  /// n columns -> out [(n + 63) / 64], the rest of the last filled with 0.
  ZOQ_TARGET static void round(const float* x, index_t n, input* out) {
    for (index_t c = 0; c < n; c += block, ++out) {
      alignas(32) float rest[block] = {};
      const bool whole = c + block <= n;
      if (!whole) {
        std::copy_n(x + c, n - c, rest);
      }
      __m256i code[4];
      out->scale = round_block(whole ? x + c : rest, code);
      __builtin_memcpy(out->code, code, sizeof code);
    }
  }
};

// Of intrinsics the compiler takes all products first, and has no registers left for the sums (g++ 12).
ZOQ_TARGET inline __m256i add_dots(__m256i sum, __m256i weight, __m256i input) {
  __m256i both;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
      : "+x"(sum), "=&x"(both)
      : "x"(weight), "x"(input));
  return sum;
}

// By itself, so that nothing around it takes registers either.
template <int M>
__attribute__((noinline)) ZOQ_TARGET inline void multiply_tile(i8_products,
                                                               const i8_products::input* a,
                                                               index_t a_stride, const float* panel,
                                                               index_t steps, stretch_ends ends,
                                                               float* const* y) {
  constexpr int vecs = i8_products::vecs;
  constexpr index_t width = i8_products::width;
  alignas(32) float memory[static_cast<std::size_t>(M * width)];
  float* so_far = memory;
  // The compiler is not to see where this points: it would keep these in the registers of the sums below.
  asm("" : "+r"(so_far) : : "memory");
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      store(so_far + m * width + v * ZOQ_LANES,
            ends.resume ? load(y[m] + v * ZOQ_LANES) : broadcast(0.0f));
    }
  }
  for (index_t k = 0; k < steps; ++k, panel += i8_products::words * width) {
    const auto* x = a + k;
    __m256i dots[static_cast<std::size_t>(M)][static_cast<std::size_t>(vecs)] = {};
    for (index_t c = 0; c < i8_products::block / 2; ++c) {
      __m256i weight[static_cast<std::size_t>(vecs)];
      ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
        weight[v] =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + c * width + v * ZOQ_LANES));
      }
      ZOQ_UNROLL for (int m = 0; m < M; ++m) {
        int two;
        __builtin_memcpy(&two, x[m * a_stride].code + 2 * c, sizeof two);
        const __m256i input = _mm256_set1_epi32(two);
        ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
          dots[m][v] = add_dots(dots[m][v], weight[v], input);
        }
      }
    }
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      const vec scale = load(panel + 32 * width + v * ZOQ_LANES);
      ZOQ_UNROLL for (int m = 0; m < M; ++m) {
        const vec both = _mm256_mul_ps(scale, broadcast(x[m * a_stride].scale));
        float* sum = so_far + m * width + v * ZOQ_LANES;
        store(sum, multiply_add(_mm256_cvtepi32_ps(dots[m][v]), both, load(sum)));
      }
    }
  }
  vec sum[static_cast<std::size_t>(M)][static_cast<std::size_t>(vecs)];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      sum[m][v] = load(so_far + m * width + v * ZOQ_LANES);
    }
  }
  store_tile(sum, ends, y);
}

/// One block of eight rows: code[i][lane] has columns 16 i to 16 i + 15 of a row, w = d p.
struct i8_block {
  __m256i code[4][ZOQ_LANES];
  alignas(32) float d[ZOQ_LANES];
};

/// `n` columns from `begin` on, at most 64; the rest is 0. Any format: what it decodes to is rounded row by
/// row, as inputs are.
template <quant_scheme S>
ZOQ_TARGET inline void encode_block(const packed_view<S>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  constexpr index_t block = i8_products::block;
  alignas(32) float rows[ZOQ_LANES * block];
  decode_rows(w, first, begin, n, block, rows);
  for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
    __m256i code[4];
    out.d[lane] = i8_products::round_block(rows + lane * block, code);
    ZOQ_UNROLL for (int i = 0; i < 4; ++i) { out.code[i][lane] = code[i]; }
  }
}

/// Two blocks of 4-bit codes c, w = d c + m: what each code becomes is looked up in a table of 16.
/// scale_of(at, h, d, m) gives the two of block h of every row.
template <quant_scheme S, class Scale>
ZOQ_TARGET inline void encode_nibbles(const packed_view<S>& w, index_t first, index_t begin,
                                      index_t n, const Scale& scale_of, i8_block& out) {
  const typename S::block* at[ZOQ_LANES];
  for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
    at[lane] = &w.block(std::min(first + lane, w.shape[0] - 1), begin / S::block_size);
  }
  const index_t halves = n > 32 ? 2 : 1;
  vec d[2], m[2];
  __m256i sizes = _mm256_setzero_si256();
  for (index_t h = 0; h < halves; ++h) {
    scale_of(at, h, d[h], m[h]);
    sizes = _mm256_max_epi32(sizes, size_of(m[h]));
    sizes = _mm256_max_epi32(sizes, size_of(multiply_add(d[h], broadcast(15.0f), m[h])));
  }
  const vec largest = _mm256_castsi256_ps(sizes);
  store(out.d, _mm256_div_ps(largest, broadcast(127.0f)));
  const vec some = _mm256_cmp_ps(largest, broadcast(i8_products::tiny), _CMP_GT_OQ);
  const vec inverse = _mm256_and_ps(some, _mm256_div_ps(broadcast(127.0f), largest));
  const vec low_codes = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
  const vec high_codes = _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15);
  const __m128i mask = _mm_set1_epi8(0x0f);
  for (index_t h = 0; h < 2; ++h) {
    if (h >= halves) {
      for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
        out.code[2][lane] = out.code[3][lane] = _mm256_setzero_si256();
      }
      break;
    }
    alignas(32) float step[ZOQ_LANES], base[ZOQ_LANES];
    store(step, _mm256_mul_ps(d[h], inverse));
    store(base, _mm256_mul_ps(m[h], inverse));
    for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
      const vec s = broadcast(step[lane]), b = broadcast(base[lane]);
      const __m256i words = i8_products::codes(multiply_add(low_codes, s, b),
                                               multiply_add(high_codes, s, b), broadcast(1));
      const __m128i table =
          _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at[lane][h].q));
      out.code[2 * h][lane] =
          _mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, _mm_and_si128(bytes, mask)));
      out.code[2 * h + 1][lane] = _mm256_cvtepi8_epi16(
          _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask)));
    }
  }
}

/// part(block h of each row), eight half floats, as floats.
template <class Block, class Part>
ZOQ_TARGET inline vec halves_of(const Block* const* at, index_t h, const Part& part) {
  alignas(16) std::uint16_t bits[ZOQ_LANES];
  for (index_t lane = 0; lane < ZOQ_LANES; ++lane) {
    bits[lane] = part(at[lane][h]).bits;
  }
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(bits)));
}

ZOQ_TARGET inline void encode_block(const packed_view<q4_1>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  encode_nibbles(
      w, first, begin, n,
      [](const q4_1::block* const* at, index_t h, vec& d, vec& m) ZOQ_TARGET {
        d = halves_of(at, h, [](const q4_1::block& b) { return b.d; });
        m = halves_of(at, h, [](const q4_1::block& b) { return b.m; });
      },
      out);
}
ZOQ_TARGET inline void encode_block(const packed_view<q4_0>& w, index_t first, index_t begin,
                                    index_t n, i8_block& out) {
  encode_nibbles(
      w, first, begin, n,
      [](const q4_0::block* const* at, index_t h, vec& d, vec& m) ZOQ_TARGET {
        d = halves_of(at, h, [](const q4_0::block& b) { return b.d; });
        m = _mm256_mul_ps(d, broadcast(-8.0f));
      },
      out);
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
      for (index_t i = 0; i < 4; ++i) {
        const auto row = [&](index_t lane)
                             ZOQ_TARGET { return _mm256_castsi256_ps(b.code[i][lane]); };
        turn_vectors(row, store_rows{step + 8 * i * width, width});
      }
      store(step + 32 * width, load(b.d));
    }
  }
}
