// Products of bfloat16 on AMX: tiles of 16 rows of 64 bytes. Part of exec/kernels.hpp, inside namespace
// avx512, whose panels it multiplies: sixteen steps of a panel of pairs are one tile of weights.
//
// Sums are float, two products at a time, as with `vdpbf16ps`; their order is the hardware's, so bits
// differ from avx512's. Intel, Architecture Instruction Set Extensions, chapter on AMX.
// SPDX-License-Identifier: Apache-2.0

#define ZOQ_AMX                                                                   \
  __attribute__((                                                                 \
      target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,avx2,fma," \
             "f16c,amx-tile,amx-bf16")))

/// The tiles of one thread: sums of 32 rows and 32 outputs in four, two of inputs, two of weights.
struct amx_tiles {
  /// Sums of `low` + `high` rows begin at 0; low in [1, 16], high in [0, 16].
  ZOQ_AMX static void start(index_t low, index_t high) {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } shape;
    const index_t rows[8] = {low, low, high, high, low, high, 16, 16};
    for (int t = 0; t < 8; ++t) {
      shape.rows[t] = static_cast<std::uint8_t>(rows[t]);
      shape.row_bytes[t] = rows[t] == 0 ? 0 : 64;
    }
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    if (high != 0) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  /// 16 pairs of columns. Strides in bytes.
  ZOQ_AMX static void add(index_t high, const void* inputs, index_t input_stride,
                          const float* weights, index_t weight_stride) {
    _tile_loadd(6, weights, weight_stride);
    _tile_loadd(7, weights + 16, weight_stride);
    _tile_loadd(4, inputs, input_stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (high != 0) {
      _tile_loadd(5, static_cast<const std::byte*>(inputs) + 16 * input_stride, input_stride);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  /// sums: [32, 32], rows that were asked for.
  ZOQ_AMX static void finish(index_t high, float* sums) {
    constexpr index_t stride = 32 * sizeof(float);
    _tile_stored(0, sums, stride);
    _tile_stored(1, sums + 16, stride);
    if (high != 0) {
      _tile_stored(2, sums + 16 * 32, stride);
      _tile_stored(3, sums + 16 * 32 + 16, stride);
    }
    _tile_release();
  }
};

/// `Tiles` is amx_tiles, or what stands in for it where there is none.
template <class Tiles = amx_tiles>
struct amx_products {
  struct input {
    std::uint32_t pair[16];
  };
  static constexpr index_t columns = 32;  // of a step
  static constexpr index_t words = 16;
  static constexpr int rows = 32;
  static constexpr int vecs = bf16_products::vecs;
  static constexpr index_t lanes = ZOQ_LANES;
  static constexpr index_t width = bf16_products::width;

  /// n columns -> out [(n + 31) / 32], the rest of the last filled with 0.
  ZOQ_TARGET static void round(const float* x, index_t n, input* out) {
    auto* pairs = reinterpret_cast<std::uint32_t*>(out);
    bf16_products::round(x, n, pairs);
    std::fill(pairs + (n + 1) / 2, pairs + (n + columns - 1) / columns * 16, 0U);
  }
};

template <class Tiles, quant_scheme S>
ZOQ_TARGET inline void fill_panel(amx_products<Tiles>, const row_panels<S>& source, index_t first,
                                  index_t begin, index_t depth, float* panel) {
  fill_panel(bf16_products{}, source, first, begin, depth, panel);
  constexpr index_t columns = amx_products<Tiles>::columns, width = bf16_products::width;
  std::fill(panel + (depth + 1) / 2 * width, panel + (depth + columns - 1) / columns * 16 * width,
            0.0f);
}

template <class Tiles>
ZOQ_TARGET inline void multiply_rows(amx_products<Tiles>, index_t rows,
                                     const typename amx_products<Tiles>::input* a, index_t a_stride,
                                     const float* panel, index_t steps, stretch_ends ends,
                                     float* const* y) {
  constexpr index_t width = bf16_products::width, side = 32;
  alignas(64) float sums[side * side];
  const index_t low = std::min<index_t>(rows, 16), high = rows - low;
  for (index_t v = 0; v < width; v += side) {
    Tiles::start(low, high);
    for (index_t k = 0; k < steps; ++k) {
      Tiles::add(high, a + k, a_stride * static_cast<index_t>(sizeof(*a)),
                 panel + k * 16 * width + v, width * static_cast<index_t>(sizeof(float)));
    }
    Tiles::finish(high, sums);
    for (index_t m = 0; m < rows; ++m) {
      float* sum = sums + m * side;
      for (index_t i = 0; i < side; ++i) {
        sum[i] += ends.resume ? y[m][v + i] : 0.0f;
        y[m][v + i] = sum[i] + (ends.join_pairs && m % 2 == 1 ? sum[i - side] : 0.0f) +
                      (ends.added == nullptr ? 0.0f : ends.added[m * width + v + i]);
      }
    }
  }
}
#undef ZOQ_AMX
