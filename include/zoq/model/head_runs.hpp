// Which rows of a forward pass go through the head together, and which answers they give.
//
//     auto runs = zoq::head_runs(branches, queries, 64);           // few rows' logits at a time
//     zoq::read_order order = zoq::order_reads(batch, place_of, branches, queries, runs);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/branch_stack.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq {

/// Rows whose logits exist at the same time, at most.
inline constexpr index_t most_head_rows = 64;

/// Read rows whose logits are computed together: a stretch of them, of pairs in both branches.
struct head_run {
  index_t first,     // of [branches * Q]: where its rows begin
      count,         // rows from there on
      second;        // where as many of a pair's other branch begin
  index_t rows;      // of both stretches: those of the logits
  index_t branch;    // of the first row
  index_t read = 0,  // where its stretch of read_order begins
      reads = 0;     // and its length: the reads that these rows answer
  /// Row i of the logits, as a row of [branches * Q].
  [[nodiscard]] index_t row(index_t i) const { return i < count ? first + i : second + i - count; }
};

/// All rows of [branches * Q] in runs of at most `most`, the first run the largest. Of pairs, a run has
/// the same rows of both branches. With branches `apart`, those of no pair share no run: each has a
/// head of its own.
[[nodiscard]] std::vector<head_run> head_runs(const branch_stack& stack, index_t queries,
                                              index_t most, bool apart = false);

/// The reads of all branches in the order of the runs that answer them.
struct read_order {
  std::vector<likelihood_place> place;  // [branches * reads] in the logits of its run
  std::vector<index_t> read;            // [branches * reads] branch * reads + read
};

/// Sets every run's stretch of reads. `place_of(row)` is the place of a row of the batch among its
/// `queries` read rows.
[[nodiscard]] read_order order_reads(const packing& batch, function_ref<index_t(index_t)> place_of,
                                     index_t branches, index_t queries, std::span<head_run> runs);

/// What `all` adds in the branches [first, first + count) of those that it has values for.
[[nodiscard]] parts parts_of_branches(parts all, index_t first, index_t count);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>

namespace zoq {

ZOQ_BODY std::vector<head_run> head_runs(const branch_stack& stack, index_t queries, index_t most,
                                         bool apart) {
  const index_t read = stack.count * queries;
  const index_t together = stack.pairs ? 2 : 1;  // branches of a run
  const index_t rows = stack.pairs || apart ? queries : read;
  const index_t stretch = std::min(most / together, rows);
  std::vector<head_run> out;
  for (index_t base = 0; base < read; base += rows * together) {
    for (index_t first = 0; first < rows; first += stretch) {
      const index_t n = std::min(stretch, rows - first);
      out.push_back({base + first, n, base + rows + first, n * together, (base + first) / queries});
    }
  }
  return out;
}

ZOQ_BODY read_order order_reads(const packing& batch, function_ref<index_t(index_t)> place_of,
                                index_t branches, index_t queries, std::span<head_run> runs) {
  struct wanted {
    index_t row, read;
  };
  const auto reads = static_cast<index_t>(batch.reads.size());
  std::vector<wanted> all;
  for (index_t b = 0; b < branches; ++b) {
    for (index_t r = 0; r < reads; ++r) {
      const index_t place = place_of(batch.reads[static_cast<std::size_t>(r)].row);
      all.push_back({b * queries + place, b * reads + r});
    }
  }
  std::sort(all.begin(), all.end(), [](const wanted& a, const wanted& b) {
    return a.row != b.row ? a.row < b.row : a.read < b.read;
  });
  read_order out;
  for (head_run& run : runs) {
    run.read = static_cast<index_t>(out.read.size());
    for (index_t i = 0; i < run.rows; ++i) {
      auto next = std::lower_bound(all.begin(), all.end(), run.row(i),
                                   [](const wanted& at, index_t row) { return at.row < row; });
      for (; next != all.end() && next->row == run.row(i); ++next) {
        const token_read& read = batch.reads[static_cast<std::size_t>(next->read % reads)];
        out.place.push_back({static_cast<std::int32_t>(i), read.target});
        out.read.push_back(next->read);
      }
    }
    run.reads = static_cast<index_t>(out.read.size()) - run.read;
  }
  return out;
}

ZOQ_BODY parts parts_of_branches(parts all, index_t first, index_t count) {
  const auto narrow = [&](part_values& values) {
    if (values.all.shape[0] != 1) {
      values.all = values.all.rows(first, count);
    }
  };
  if (all.sparse) {
    all.sparse->values = all.sparse->values.rows(first, count);
  }
  if (all.low_rank) {
    narrow(all.low_rank->a);
    narrow(all.low_rank->b);
  }
  if (all.offset) {
    narrow(all.offset->offset);
  }
  if (all.factor) {
    narrow(all.factor->factor);
  }
  return all;
}

}  // namespace zoq

#endif
