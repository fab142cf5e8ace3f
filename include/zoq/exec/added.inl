// What a sparse view adds to a product: part of exec/kernels.hpp, inside its namespace, behind
// kernels.inl.
//
// A panel's tiles begin with sums of their own; what is added to a run of slots is computed first, into a
// square beside the panel, and joins them on their way out: outputs are written once. Vectors hold
// rows, so that an entry costs one multiplication for ZOQ_LANES of them: the inputs are turned before,
// the sums after.
// SPDX-License-Identifier: Apache-2.0

/// A block of at most turned_rows::rows rows of x turned: out[c * rows + r] = x[r, c], 0 for rows that
/// are not there. x: [rows, columns].
template <class Products>
ZOQ_TARGET inline void turn_rows(Products, const float* x, index_t rows, index_t columns,
                                 float* out) {
  constexpr index_t all = turned_rows::rows;
  for (index_t first = 0; first < all; first += ZOQ_LANES) {
    index_t c = 0;
    if (first + ZOQ_LANES <= rows) {
      for (; c + ZOQ_LANES <= columns; c += ZOQ_LANES) {
        turn_square(x + first * columns + c, columns, store_rows{out + c * all + first, all});
      }
    }
    for (; c < columns; ++c) {
      for (index_t r = first; r < first + ZOQ_LANES; ++r) {
        out[c * all + r] = r < rows ? x[r * columns + c] : 0.0f;
      }
    }
  }
}

/// Entries of a part whose outputs lie within ZOQ_LANES of `first`, and what they are in a branch.
struct entry_range {
  const std::int32_t* output;
  const std::int32_t* column;
  const float* value;
  index_t count, first;
};

inline constexpr index_t square_rows = 2 * turned_rows::rows;

/// sums[o - first, r] of [ZOQ_LANES, square_rows] becomes the sum over the entries of output o, for the
/// rows r of Blocks blocks of turned inputs. Every entry stores what its output has so far: there is
/// nothing to predict, and nothing to wait for.
template <index_t Blocks>
ZOQ_TARGET inline void sum_entries(const entry_range& entries, const float* x, index_t block_size,
                                   float* sums) {
  constexpr index_t per_block = turned_rows::rows / ZOQ_LANES;
  constexpr auto vecs = static_cast<std::size_t>(Blocks * per_block);
  vec sum[vecs];
  ZOQ_UNROLL for (std::size_t v = 0; v < vecs; ++v) { sum[v] = broadcast(0.0f); }
  std::int32_t before = -1;
  for (index_t j = 0; j < entries.count; ++j) {
    const std::int32_t o = entries.output[j];
    const float* in = x + entries.column[j] * turned_rows::rows;
    float* out = sums + (o - entries.first) * square_rows;
    ZOQ_UNROLL for (index_t v = 0; v < static_cast<index_t>(vecs); ++v) {
      const vec input = load(in + v / per_block * block_size + v % per_block * ZOQ_LANES);
      sum[v] = multiply_add(broadcast(entries.value[j]), input, zero_unless(o == before, sum[v]));
      store(out + v * ZOQ_LANES, sum[v]);
      if (v % per_block == 0) {  // the lines of the next blocks: nothing foresees them
        __builtin_prefetch(in + (Blocks + v / per_block) * block_size);
      }
    }
    before = o;
  }
}

/// to[i * stride] = vector i of the sums of `some.count` rows from some.first on, over the entries.
/// `sums` [ZOQ_LANES, square_rows] is 0 where an output has no entry, and stays so.
template <index_t Blocks>
ZOQ_TARGET inline void sum_blocks(const entry_range& entries, const branch_rows& some,
                                  index_t block, const turned_rows& x, float* sums, float* to,
                                  index_t stride) {
  constexpr index_t rows = Blocks * turned_rows::rows;
  sum_entries<Blocks>(entries, x.block(some.branch, block), x.block_size(), sums);
  const index_t end = some.first + some.count;
  for (index_t v = 0; v < rows; v += ZOQ_LANES) {
    const index_t row = block * turned_rows::rows + v;
    if (row >= some.first && row + ZOQ_LANES <= end) {
      turn_square(sums + v, square_rows, store_rows{to + (row - some.first) * stride, stride});
    } else if (row < end && row + ZOQ_LANES > some.first) {
      const index_t skipped = std::max<index_t>(0, some.first - row);
      turn_square(
          sums + v, square_rows,
          store_some{to + (row + skipped - some.first) * stride, stride, skipped, end - row});
    }
  }
}

/// sums[slot - slots.first, i] = sum of value[j] x[row of slot, column[j]] over the entries j of output
/// first + i, each branch with its own values: [slots.count, Products::width]. Null where the panel has
/// no entry. Cost: an operation for each entry and row, and the turning of what they add up to.
template <class Products>
ZOQ_TARGET inline const float* sum_part(Products, const sparse_part& part, index_t first,
                                        const turned_rows& x, const slot_range& slots,
                                        const output_rows& order, float* sums) {
  constexpr index_t width = Products::width;
  const std::int32_t* output = part.row.data;
  const std::int32_t* last = output + part.row.shape[0];
  const std::int32_t* begin = std::lower_bound(output, last, first);
  if (begin == last || *begin >= first + width) {
    return nullptr;
  }
  for (index_t v = 0; v < width; v += ZOQ_LANES) {
    const std::int32_t* end = begin;
    while (end != last && *end < first + v + ZOQ_LANES) {
      ++end;
    }
    alignas(64) float square[ZOQ_LANES * square_rows] = {};
    order.for_each_branch(slots, [&](const branch_rows& some) ZOQ_TARGET {
      const index_t at = begin - output;
      const float* values = part.values.data + some.branch * part.values.shape[1] + part.first;
      const entry_range entries{begin, part.column.data + at, values + at, end - begin, first + v};
      float* to = sums + (some.slot - slots.first) * width + v;
      index_t block = some.first / turned_rows::rows;
      const index_t blocks = (some.first + some.count + turned_rows::rows - 1) / turned_rows::rows;
      for (; block + 2 <= blocks; block += 2) {
        sum_blocks<2>(entries, some, block, x, square, to, some.step * width);
      }
      if (block < blocks) {
        sum_blocks<1>(entries, some, block, x, square, to, some.step * width);
      }
    });
    begin = end;
  }
  return sums;
}
