// Panels: what the matrix kernel multiplies rows with. A panel holds `width` outputs over a stretch
// of the depth, decoded and laid out as the kernel reads it; in float
//
//     panel[k * width + j] = the weight of output (first + j) at depth (depth_first + k)
//
// A source fills panels. The kernel knows no format: a new format brings its `decode` alone. Formats
// with kernels of their own are sources each; the others are one source, whose rows become floats first.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::detail {

// Of a panel: 192 KB, which stay in a second-level cache while the rows pass.
inline constexpr index_t panel_floats = 768 * 64;

/// How i8 rounds, on every instruction set: a block's largest value becomes 127.
struct i8_rounding {
  static constexpr index_t block = 64;      // columns that share a scale
  static constexpr float tiny = 0x1p-120f;  // what is smaller becomes 0: 127 / it would be infinite
};

/// Inputs of a product in the order in which they are multiplied.
struct slot_range {
  index_t first, count;  // of pairs both are even
};

/// Rows of one branch among slots: row first + i is in slot `slot` + i * step.
struct branch_rows {
  index_t branch, first, count;
  index_t slot, step;
};

/// The rows of y that a product writes. A slot is a row; but of a stack of pairs, slots 2 i and
/// 2 i + 1 are row i of a pair's two branches, so that a tile holds both.
struct output_rows {
  float* data;         // [branches * T, columns]
  index_t columns;     // of y
  index_t per_branch;  // T
  bool pairs;

  [[nodiscard]] index_t row(index_t slot) const {
    if (!pairs) {
      return slot;
    }
    const index_t within = slot % (2 * per_branch);
    return slot - within + within % 2 * per_branch + within / 2;
  }
  [[nodiscard]] float* slot(index_t s) const { return data + row(s) * columns; }
  /// The slot of row `r` of a branch.
  [[nodiscard]] index_t slot_of(index_t branch, index_t r) const {
    return pairs ? (branch - branch % 2) * per_branch + 2 * r + branch % 2
                 : branch * per_branch + r;
  }

  /// f(branch_rows) for every branch that has rows among the slots.
  template <class F>
  void for_each_branch(const slot_range& slots, const F& f) const {
    const index_t together = pairs ? 2 * per_branch : per_branch;  // slots that interleave
    for (index_t s = slots.first; s < slots.first + slots.count;) {
      const index_t group = s / together;
      const index_t end = std::min((group + 1) * together, slots.first + slots.count);
      const index_t branches = pairs ? 2 : 1;
      const index_t first = (s - group * together) / branches;
      for (index_t b = 0; b < branches; ++b) {
        f(branch_rows{group * branches + b, first, (end - s) / branches, s + b, branches});
      }
      s = end;
    }
  }
};

/// What is on top of a run of slots: writes it to memory [run.count, width] and returns that, or null.
using added_to_slots = function_ref<const float*(const slot_range&, float*)>;
struct nothing_added {
  const float* operator()(const slot_range&, float*) const { return nullptr; }
};

/// x in blocks of 16 rows of a branch, each turned: row r of a block is at [c * 16 + r]. Rows that are
/// not there are 0.
struct turned_rows {
  static constexpr index_t rows = 16;  // of a block: a multiple of every vector
  float* data = nullptr;               // [branches, blocks, C, 16]
  index_t blocks = 0;                  // of a branch
  index_t columns = 0;                 // C

  [[nodiscard]] index_t block_size() const { return columns * rows; }
  [[nodiscard]] index_t size(index_t branches) const { return branches * blocks * block_size(); }
  [[nodiscard]] float* block(index_t branch, index_t b) const {
    return data + (branch * blocks + b) * block_size();
  }
};

/// Outputs are the rows of W, the depth its columns: y = x W^T.
template <quant_scheme S>
struct row_panels {
  packed_view<S> w;  // [O, C]

  [[nodiscard]] index_t outputs() const { return w.shape[0]; }
  [[nodiscard]] index_t depth() const { return w.shape[1]; }
  /// Where the blocks of output o begin.
  [[nodiscard]] const std::byte* bytes_of(index_t o) const {
    return reinterpret_cast<const std::byte*>(w.blocks) +
           o * (w.shape[1] / S::block_size) * static_cast<index_t>(sizeof(typename S::block));
  }
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

/// The same for all formats without kernels of their own. Rows are decoded to floats, and those multiplied
/// as f32_format's: a panel's bits are the same.
struct any_row_panels {
  const any_packed& w;  // [O, C]
  index_t row_bytes;    // of blocks

  explicit any_row_panels(const any_packed& packed)
      : w(packed), row_bytes(packed.format().bytes(1, packed.columns())) {}

  [[nodiscard]] index_t outputs() const { return w.rows(); }
  [[nodiscard]] index_t depth() const { return w.columns(); }
  [[nodiscard]] const std::byte* bytes_of(index_t o) const { return w.bytes() + o * row_bytes; }
  /// Columns that are decoded at a time: whole blocks of every format.
  [[nodiscard]] static constexpr index_t granule() {
    index_t all = 32;
    formats::for_each([&]<class S>(S) { all = std::lcm(all, index_t{S::block_size}); });
    return all;
  }
};

/// Memory that is read soon.
struct byte_range {
  const std::byte *begin = nullptr, *end = nullptr;
};

/// Where the source's outputs [first, first + width) are read from, if they lie together.
template <class Source>
byte_range bytes_of_outputs(const Source& source, index_t first, index_t width) {
  if constexpr (requires { source.bytes_of(first); }) {
    const index_t last = std::min(first + width, source.outputs());
    if (first < last) {
      return {source.bytes_of(first), source.bytes_of(last)};
    }
  }
  return {};
}

/// A panel of outputs, from whatever source: the kernel is compiled once for all of them.
struct panel_fill {
  index_t first, width;  // its outputs
  index_t depth;
  index_t granule;  // stretches of the depth begin at multiples
  byte_range next;  // what the panel after it is made of
  function_ref<void(index_t begin, index_t depth, float* panel)> fill;
};

/// Asks for the bytes of the panel that comes next, some with every tile: they are read once and far
/// apart, which no hardware foresees.
class fetch_ahead {
 public:
  fetch_ahead(const byte_range& of, index_t tiles)
      : at_(of.begin),
        end_(of.end),
        each_(((end_ - at_) / line + tiles) / std::max<index_t>(tiles, 1)) {}
  void some() {
    for (index_t i = 0; i < each_ && at_ < end_; ++i, at_ += line) {
      __builtin_prefetch(at_, 0, 2);
    }
  }

 private:
  static constexpr index_t line = 64;
  const std::byte *at_, *end_;
  index_t each_;  // lines
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

/// Columns [begin, begin + count) of row o, as floats. Compiled once: the reverse of formats without kernels
/// of their own.
__attribute__((noinline)) inline void decode_part_of_row(const any_packed& any, index_t o,
                                                         index_t begin, index_t count, float* y) {
  any.visit([&]<class S>(const packed_view<S>& w) {
    if constexpr (!has_own_kernels<S>) {
      float decoded[S::block_size];
      const typename S::row row = w.row(o);
      for (index_t c = begin; c < begin + count;) {
        const index_t block = c / S::block_size, end = (block + 1) * S::block_size;
        S::decode(row, w.block(o, block), decoded);
        for (; c < std::min(end, begin + count); ++c) {
          *y++ = decoded[c - block * S::block_size];
        }
      }
    }
  });
}

/// The same for all formats without kernels of their own.
struct any_column_panels {
  const any_packed& w;  // [O, C]

  [[nodiscard]] index_t outputs() const { return w.columns(); }
  [[nodiscard]] index_t depth() const { return w.rows(); }
  [[nodiscard]] static constexpr index_t granule() { return 1; }

  template <int Width>
  void fill(index_t first, index_t count, index_t depth_first, index_t depth, float* panel) const {
    for (index_t k = 0; k < depth; ++k) {
      decode_part_of_row(w, depth_first + k, first, count, panel + k * Width);
    }
  }
};

/// f(source of a matrix): `Own<S>` where the format has kernels of its own, and `Any` for the others.
template <template <class> class Own, class Any, class F>
void with_source(const any_packed& w, const F& f) {
  w.visit([&]<class S>(const packed_view<S>& packed) {
    if constexpr (has_own_kernels<S>) {
      f(Own<S>{packed});
    } else {
      f(Any{w});
    }
  });
}

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

/// How many parts of the rows each panel is cut into: few panels for many threads are split, and
/// decoded once for each part.
inline index_t parts_of_rows(index_t threads, index_t panels, index_t rows) {
  const index_t wanted = threads == 1 || panels == 0 ? 1 : (3 * threads + panels - 1) / panels;
  return std::clamp<index_t>(wanted, 1, std::max<index_t>(1, rows / 48));
}

/// Part `part` of `parts` of the slots; of pairs, whole ones.
inline slot_range part_of(index_t part, index_t parts, index_t slots, bool pairs) {
  const index_t unit = pairs ? 2 : 1;
  const index_t first = slots / unit * part / parts * unit;
  return {first, slots / unit * (part + 1) / parts * unit - first};
}

}  // namespace zoq::detail
