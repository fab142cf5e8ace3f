// Decoding sixteen rows of a quantised matrix at a time, turned so that a vector holds one column.
// Part of exec/kernels.hpp, inside namespace avx512; kernels.inl has the version for every format.
//
// The codes are turned while they are still packed, four columns to a lane: a quarter of the work of
// turning floats. d * q is exact, so the fused m + d * q rounds as the scheme's own decode does;
// where there is no m it is -0, which keeps the sign of a zero.
// SPDX-License-Identifier: Apache-2.0

/// Sixteen values of a format without blocks.
ZOQ_TARGET inline __m512 widen(const f32_format::block* p) {
  __m512 v = load(reinterpret_cast<const float*>(p));
  asm("" : "+v"(v));  // or g++ makes a copy of many such into `rep movs`, which starts slowly
  return v;
}
ZOQ_TARGET inline __m512 widen(const f16_format::block* p) {
  return _mm512_maskz_cvtph_ps(every, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
ZOQ_TARGET inline __m512 widen(const bf16_format::block* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(
      _mm512_maskz_slli_epi32(every, _mm512_maskz_cvtepu16_epi32(every, halves), 16));
}

/// Four times 16 bytes as one vector.
ZOQ_TARGET inline __m512i load_four(const void* a, const void* b, const void* c, const void* d) {
  const auto* w = static_cast<const __m128i*>(a);
  const auto* x = static_cast<const __m128i*>(b);
  const auto* y = static_cast<const __m128i*>(c);
  const auto* z = static_cast<const __m128i*>(d);
  const __m256i low = _mm256_set_m128i(_mm_loadu_si128(x), _mm_loadu_si128(w));
  const __m256i high = _mm256_set_m128i(_mm_loadu_si128(z), _mm_loadu_si128(y));
  return _mm512_maskz_inserti64x4(every_other, _mm512_castsi256_si512(low), high, 1);
}

/// Sixteen rows of 16 bytes, rows i, i + 4, i + 8 and i + 12 in a[i] -> turned[w] holds dword w of
/// every row.
ZOQ_TARGET inline void turn_lanes(const __m512i (&a)[4], __m512i* turned) {
  const __m512i low01 = _mm512_maskz_unpacklo_epi32(every, a[0], a[1]);
  const __m512i high01 = _mm512_maskz_unpackhi_epi32(every, a[0], a[1]);
  const __m512i low23 = _mm512_maskz_unpacklo_epi32(every, a[2], a[3]);
  const __m512i high23 = _mm512_maskz_unpackhi_epi32(every, a[2], a[3]);
  turned[0] = _mm512_maskz_unpacklo_epi64(every_other, low01, low23);
  turned[1] = _mm512_maskz_unpackhi_epi64(every_other, low01, low23);
  turned[2] = _mm512_maskz_unpacklo_epi64(every_other, high01, high23);
  turned[3] = _mm512_maskz_unpackhi_epi64(every_other, high01, high23);
}
ZOQ_TARGET inline void turn_bytes(const std::uint8_t* const* row, __m512i* turned) {
  __m512i a[4];
  ZOQ_UNROLL for (int i = 0; i < 4; ++i) {
    a[i] = load_four(row[i], row[i + 4], row[i + 8], row[i + 12]);
  }
  turn_lanes(a, turned);
}

/// The blocks of sixteen rows side by side: a pointer to each row's block, moved along the row.
template <quant_scheme S>
struct row_blocks {
  const typename S::block* at[16];
  ZOQ_TARGET row_blocks(const packed_view<S>& w, index_t first, index_t begin) {
    for (index_t lane = 0; lane < 16; ++lane) {
      at[lane] = &w.block(std::min(first + lane, w.shape[0] - 1), begin / S::block_size);
    }
  }
  ZOQ_TARGET void next() {
    for (auto& p : at) {
      ++p;
    }
  }
  /// member(block) of all rows, f16, as floats.
  template <class Member>
  ZOQ_TARGET __m512 halves(Member member) const {
    alignas(32) std::uint16_t bits[16];
    ZOQ_UNROLL for (int lane = 0; lane < 16; ++lane) { bits[lane] = member(*at[lane]).bits; }
    return _mm512_maskz_cvtph_ps(every, _mm256_load_si256(reinterpret_cast<const __m256i*>(bits)));
  }
  template <class Member>
  ZOQ_TARGET void turn(Member member, __m512i* turned) const {
    const std::uint8_t* row[16];
    ZOQ_UNROLL for (int lane = 0; lane < 16; ++lane) { row[lane] = member(*at[lane]); }
    turn_bytes(row, turned);
  }
};

/// 32 columns of codes of 4 bits: out = table[code] * d + m.
ZOQ_TARGET inline void decode_nibbles(const __m512i* turned, __m512 table, __m512 d, __m512 m,
                                      float* out, index_t stride) {
  ZOQ_UNROLL for (int w = 0; w < 4; ++w) {
    ZOQ_UNROLL for (int k = 0; k < 4; ++k) {  // the table look-up ignores all but the low 4 bits
      const __m512i low = _mm512_maskz_srli_epi32(every, turned[w], static_cast<unsigned>(8 * k));
      const __m512i high =
          _mm512_maskz_srli_epi32(every, turned[w], static_cast<unsigned>(8 * k + 4));
      store(out + (4 * w + k) * stride,
            _mm512_fmadd_ps(_mm512_maskz_permutexvar_ps(every, low, table), d, m));
      store(out + (4 * w + k + 16) * stride,
            _mm512_fmadd_ps(_mm512_maskz_permutexvar_ps(every, high, table), d, m));
    }
  }
}

/// Formats whose codes are turned before they are decoded, by an overload of decode_columns.
template <class S>
inline constexpr bool turns_codes = false;
template <>
inline constexpr bool turns_codes<q4_0> = true;
template <>
inline constexpr bool turns_codes<q4_1> = true;
template <>
inline constexpr bool turns_codes<q8_0> = true;

ZOQ_TARGET inline __m512 counting_from(float first) {
  return _mm512_add_ps(_mm512_set1_ps(first),
                       _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

ZOQ_TARGET inline void decode_columns(const packed_view<q4_1>& w, index_t first, index_t begin,
                                      index_t count, float* out, index_t stride) {
  row_blocks<q4_1> rows(w, first, begin);
  for (index_t c = 0; c < count; c += 32, rows.next()) {
    __m512i turned[4];
    rows.turn([](const q4_1::block& b) { return b.q; }, turned);
    decode_nibbles(turned, counting_from(0), rows.halves([](const q4_1::block& b) { return b.d; }),
                   rows.halves([](const q4_1::block& b) { return b.m; }), out + c * stride, stride);
  }
}

ZOQ_TARGET inline void decode_columns(const packed_view<q4_0>& w, index_t first, index_t begin,
                                      index_t count, float* out, index_t stride) {
  row_blocks<q4_0> rows(w, first, begin);
  for (index_t c = 0; c < count; c += 32, rows.next()) {
    __m512i turned[4];
    rows.turn([](const q4_0::block& b) { return b.q; }, turned);
    decode_nibbles(turned, counting_from(-8), rows.halves([](const q4_0::block& b) { return b.d; }),
                   _mm512_set1_ps(-0.0f), out + c * stride, stride);
  }
}

ZOQ_TARGET inline void decode_columns(const packed_view<q8_0>& w, index_t first, index_t begin,
                                      index_t count, float* out, index_t stride) {
  row_blocks<q8_0> rows(w, first, begin);
  for (index_t c = 0; c < count; c += 32, rows.next()) {
    const __m512 d = rows.halves([](const q8_0::block& b) { return b.d; });
    ZOQ_UNROLL for (int half = 0; half < 2; ++half) {
      __m512i turned[4];
      rows.turn(
          [half](const q8_0::block& b) {
            return reinterpret_cast<const std::uint8_t*>(b.q) + 16 * half;
          },
          turned);
      ZOQ_UNROLL for (int w4 = 0; w4 < 4; ++w4) {
        ZOQ_UNROLL for (int k = 0; k < 4; ++k) {
          const __m512i code = _mm512_maskz_srai_epi32(
              every, _mm512_maskz_slli_epi32(every, turned[w4], static_cast<unsigned>(24 - 8 * k)),
              24);
          store(out + (c + 16 * half + 4 * w4 + k) * stride,
                _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(every, code), d));
        }
      }
    }
  }
}
