// A matrix of quantised weights as it lies in memory: rows of blocks, never unpacked as a whole.
//
//     packed_view<q4_1> w{blocks, nullptr, {rows, columns}};       // [O, C]
//     zoq::decode_row(w, 3, y);                                    // y: [C]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

template <quant_scheme S>
struct packed_view {
  using scheme = S;  // quant/scheme.hpp

  const typename S::block* blocks = nullptr;  // [O, C / block_size]
  const typename S::row* row_data = nullptr;  // [O], or null when S::row is empty
  index_t shape[2] = {};                      // rows O, columns C: a multiple of block_size

  /// C / block_size.
  [[nodiscard]] ZOQ_HD constexpr index_t blocks_per_row() const { return shape[1] / S::block_size; }
  /// Block b of row o: columns b * block_size and on.
  [[nodiscard]] ZOQ_HD constexpr const typename S::block& block(index_t o, index_t b) const {
    return blocks[o * blocks_per_row() + b];
  }
  /// What row o owns; zeros where row_data is null.
  [[nodiscard]] ZOQ_HD constexpr typename S::row row(index_t o) const {
    return row_data == nullptr ? typename S::row{} : row_data[o];
  }
  [[nodiscard]] constexpr index_t byte_count() const {
    return shape[0] * blocks_per_row() * static_cast<index_t>(sizeof(typename S::block)) +
           (row_data == nullptr ? 0 : shape[0] * static_cast<index_t>(sizeof(typename S::row)));
  }
};

/// Decodes row `o` of `w` to `y` [C].
template <quant_scheme S>
ZOQ_HD void decode_row(const packed_view<S>& w, index_t o, float* y) {
  const typename S::row row = w.row(o);
  for (index_t b = 0; b < w.blocks_per_row(); ++b) {
    S::decode(row, w.block(o, b), y + b * S::block_size);
  }
}

}  // namespace zoq
