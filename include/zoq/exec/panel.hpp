// Panels: what the matrix kernel multiplies rows with. A panel holds `width` outputs over a stretch
// of the depth, decoded to float and laid out as the kernel reads it:
//
//     panel[k * width + j] = the weight of output (first + j) at depth (depth_first + k)
//
// A source fills panels. The kernel knows no format: a new format brings its `decode` alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::detail {

// Steps of a panel: with 64 outputs 196 KB, which stay in a second-level cache while the rows pass.
inline constexpr index_t panel_depth = 768;

/// Outputs are the rows of W, the depth its columns: y = x W^T.
template <quant_scheme S>
struct row_panels {
  packed_view<S> w;  // [O, C]

  [[nodiscard]] index_t outputs() const { return w.shape[0]; }
  [[nodiscard]] index_t depth() const { return w.shape[1]; }
  /// Panels begin at multiples of this depth.
  [[nodiscard]] static constexpr index_t granule() {
    return S::block_size > 32 ? S::block_size : 32;
  }

  template <int Width>
  void fill(index_t first, index_t count, index_t depth_first, index_t depth, float* panel) const {
    float decoded[S::block_size];
    for (index_t j = 0; j < count; ++j) {
      const typename S::row row = w.row(first + j);
      const typename S::block* block = &w.block(first + j, depth_first / S::block_size);
      for (index_t k = 0; k < depth; k += S::block_size, ++block) {
        S::decode(row, *block, decoded);
        for (index_t i = 0; i < S::block_size; ++i) {
          panel[(k + i) * Width + j] = decoded[i];
        }
      }
    }
  }
};

/// Outputs are the columns of W, the depth its rows: dx = dy W.
template <quant_scheme S>
struct column_panels {
  packed_view<S> w;  // [O, C]

  [[nodiscard]] index_t outputs() const { return w.shape[1]; }
  [[nodiscard]] index_t depth() const { return w.shape[0]; }
  [[nodiscard]] static constexpr index_t granule() { return 1; }

  template <int Width>
  void fill(index_t first, index_t count, index_t depth_first, index_t depth, float* panel) const {
    float decoded[S::block_size];
    for (index_t k = 0; k < depth; ++k) {
      const typename S::row row = w.row(depth_first + k);
      for (index_t j = 0; j < count;) {
        const index_t block = (first + j) / S::block_size;
        S::decode(row, w.block(depth_first + k, block), decoded);
        index_t i = first + j - block * S::block_size;
        for (; i < S::block_size && j < count; ++i, ++j) {
          panel[k * Width + j] = decoded[i];
        }
      }
    }
  }
};

/// Outputs are the columns of a float matrix, the depth its rows: dw = dy^T x.
struct dense_panels {
  tensor_view<const float, 2> x;  // [depth, outputs]

  [[nodiscard]] index_t outputs() const { return x.shape[1]; }
  [[nodiscard]] index_t depth() const { return x.shape[0]; }
  [[nodiscard]] static constexpr index_t granule() { return 1; }

  template <int Width>
  void fill(index_t first, index_t count, index_t depth_first, index_t depth, float* panel) const {
    for (index_t k = 0; k < depth; ++k) {
      for (index_t j = 0; j < count; ++j) {
        panel[k * Width + j] = x.data[(depth_first + k) * x.shape[1] + first + j];
      }
    }
  }
};

}  // namespace zoq::detail
