// attention over packed sequences: every row sees the rows before it in its segment, and all rows
// of its segment's ancestors, so that a prompt is computed once for all its options.
//
//     p[j] = softmax_j(q . k[j] / sqrt(D));   out = sum_j p[j] v[j]
//
// Heads of the query share heads of keys and values in groups (Ainslie et al., arXiv 2305.13245).
// The softmax runs on line over tiles of keys (Milakov and Gimelshein, arXiv 1805.02867), so no
// score outlives its tile.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/tensor/attention_task.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/segment.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// One head of one query row. An executor may have a faster way to answer all of them.
struct attention_head : attention_task {
  static constexpr index_t tile = 32;  // keys at once

  ZOQ_HD void operator()(index_t i) const {
    const index_t heads = q.shape[1];
    const index_t size = q.shape[2];
    const index_t head = i % heads;
    const index_t query = i / heads;  // in [0, branches * Q)
    const index_t rows = layout.segment_of.shape[0];
    const index_t base = query / queries * rows;  // the branch's first row
    const index_t shared = head * k.shape[1] / heads;
    index_t last = row_of[query % queries];

    float sum[largest_head] = {};
    float highest = -INFINITY;
    float total = 0;
    const float* question = q.data + (query * heads + head) * size;
    for (index_t s = layout.segment_of.data[last]; s >= 0; s = layout.segments.data[s].parent) {
      const segment& seen = layout.segments.data[s];
      const index_t end = last >= 0 ? last + 1 : seen.first + seen.count;
      for (index_t first = seen.first; first < end; first += tile) {
        const index_t n = end - first < tile ? end - first : tile;
        add_tile(question, base + first, n, shared, highest, total, sum);
      }
      last = -1;  // of an ancestor, all rows are seen
    }
    float* answer = out.data + (query * heads + head) * size;
    for (index_t d = 0; d < size; ++d) {
      answer[d] = sum[d] / total;
    }
  }

 private:
  // Folds keys [first, first + n) into the running maximum, total weight and weighted sum.
  ZOQ_HD void add_tile(const float* question, index_t first, index_t n, index_t shared,
                       float& highest, float& total, float* sum) const {
    const index_t size = q.shape[2];
    const index_t stride = k.shape[1] * size;
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    float weight[tile];
    float top = highest;
    for (index_t j = 0; j < n; ++j) {
      weight[j] = scale * dot_lanes(question, k.data + (first + j) * stride + shared * size, size);
      top = weight[j] > top ? weight[j] : top;
    }
    for (index_t j = n; j < tile; ++j) {
      weight[j] = top;  // the exponentials below run over whole tiles
    }
    for (index_t j = 0; j < tile; ++j) {
      weight[j] = exp_f32(weight[j] - top);
    }
    const float shrink = total > 0 ? exp_f32(highest - top) : 0.0f;
    total *= shrink;
    for (index_t d = 0; d < size; ++d) {
      sum[d] *= shrink;
    }
    for (index_t j = 0; j < n; ++j) {
      const float w = weight[j];
      const float* value = v.data + (first + j) * stride + shared * size;
      total += w;
      for (index_t d = 0; d < size; ++d) {
        sum[d] += w * value[d];
      }
    }
    highest = top;
  }
};

/// q, out: [branches * Q, H, D], k, v: [branches * T, K, D], row_of: [Q] with values in [0, T).
/// H must be a multiple of K, D at most `largest_head`. Throws when shapes disagree.
template <executor X>
void attention(const X& exec, tensor_view<const float, 3> q, tensor_view<const float, 3> k,
               tensor_view<const float, 3> v, tensor_view<const std::int32_t, 1> row_of,
               const row_layout& layout, tensor_view<float, 3> out) {
  require(q.shape[1] % k.shape[1] == 0, "attention: ", q.shape[1], " heads cannot share ",
          k.shape[1]);
  require(q.shape[2] == k.shape[2] && q.shape[2] <= largest_head, "attention: heads of ",
          q.shape[2], " and ", k.shape[2], " coordinates, at most ", largest_head);
  require(row_of.shape[0] != 0 && q.shape[0] % row_of.shape[0] == 0 &&
              k.shape[0] / layout.segment_of.shape[0] == q.shape[0] / row_of.shape[0],
          "attention: ", q.shape[0], " queries and ", k.shape[0], " keys are not ", row_of.shape[0],
          " and ", layout.segment_of.shape[0], " of the same branches");
  const attention_head task{{q, k, v, row_of.data, layout, out, row_of.shape[0]}};
  if constexpr (requires { exec.attention(task); }) {
    exec.attention(task);
  } else {
    exec.for_each(q.shape[0] * q.shape[1], task);
  }
}

}  // namespace zoq
