// Attention of one instruction set: part of exec/kernels.hpp, inside its namespace, behind kernels.inl.
//
// A task (ops/attention.hpp) says what is wanted. A block takes queries of one segment, and all heads
// that share a head of keys: a tile of keys, turned so that a vector holds keys, serves all of them. The
// softmax runs on line over tiles; tiles begin where segments do, so a query's bits do not depend on
// the queries beside it.
// SPDX-License-Identifier: Apache-2.0

inline constexpr index_t key_tile = 32;           // keys at once
inline constexpr index_t questions_at_once = 48;  // queries times heads

/// f(integral constant M, first question) for the questions from `first` on, M at a time, then fewer.
template <int M, class F>
ZOQ_TARGET inline void by_questions(index_t first, index_t count, const F& f) {
  for (; first + M <= count; first += M) {
    f(std::integral_constant<int, M>{}, first);
  }
  if constexpr (M > 1) {
    by_questions<M - 1>(first, count, f);
  }
}

/// out[m, j] = scale sum_d q[m][d] keys[d * key_tile + j] for M questions.
template <int M>
ZOQ_TARGET inline void score_keys(const float* const* q, index_t size, float scale,
                                  const float* keys, float* out) {
  constexpr int vecs = static_cast<int>(key_tile) / ZOQ_LANES;
  vec sum[static_cast<std::size_t>(M)][static_cast<std::size_t>(vecs)];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) { sum[m][v] = broadcast(0.0f); }
  }
  for (index_t d = 0; d < size; ++d) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      const vec key = load(keys + d * key_tile + v * ZOQ_LANES);
      ZOQ_UNROLL for (int m = 0; m < M; ++m) {
        sum[m][v] = multiply_add(broadcast(q[m][d]), key, sum[m][v]);
      }
    }
  }
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < vecs; ++v) {
      store(out + m * key_tile + v * ZOQ_LANES,
            multiply_add(sum[m][v], broadcast(scale), broadcast(0.0f)));
    }
  }
}

/// sum[m, d] += sum_j weight[m, j] values[j * stride + d] for M questions and Vecs vectors of d.
template <int M, int Vecs>
ZOQ_TARGET inline void mix_values(const float* weight, const float* values, index_t stride,
                                  index_t count, float* sum, index_t sum_stride) {
  vec acc[static_cast<std::size_t>(M)][static_cast<std::size_t>(Vecs)];
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < Vecs; ++v) {
      acc[m][v] = load(sum + m * sum_stride + v * ZOQ_LANES);
    }
  }
  for (index_t j = 0; j < count; ++j) {
    vec value[static_cast<std::size_t>(Vecs)];
    ZOQ_UNROLL for (int v = 0; v < Vecs; ++v) {
      value[v] = load(values + j * stride + v * ZOQ_LANES);
    }
    ZOQ_UNROLL for (int m = 0; m < M; ++m) {
      const vec w = broadcast(weight[m * key_tile + j]);
      ZOQ_UNROLL for (int v = 0; v < Vecs; ++v) {
        acc[m][v] = multiply_add(w, value[v], acc[m][v]);
      }
    }
  }
  ZOQ_UNROLL for (int m = 0; m < M; ++m) {
    ZOQ_UNROLL for (int v = 0; v < Vecs; ++v) {
      store(sum + m * sum_stride + v * ZOQ_LANES, acc[m][v]);
    }
  }
}

/// keys[d * key_tile + j] = from[j * stride + d]; keys from `count` on repeat the last one.
ZOQ_TARGET inline void turn_keys(const float* from, index_t stride, index_t count, index_t size,
                                 float* keys) {
  for (index_t j = 0; j < key_tile; j += ZOQ_LANES) {
    index_t d = 0;
    if (j + ZOQ_LANES <= count) {
      for (; d + ZOQ_LANES <= size; d += ZOQ_LANES) {
        turn_square(from + j * stride + d, stride, store_rows{keys + d * key_tile + j, key_tile});
      }
    }
    for (index_t i = j; i < j + ZOQ_LANES; ++i) {
      const float* key = from + std::min(i, count - 1) * stride;
      for (index_t e = d; e < size; ++e) {
        keys[e * key_tile + i] = key[e];
      }
    }
  }
}

/// The questions of a block, and what they have seen so far.
struct question_block {
  index_t count = 0;                                            // M
  const float* q[static_cast<std::size_t>(questions_at_once)];  // [D] each
  float* out[static_cast<std::size_t>(questions_at_once)];      // [D] each
  index_t row[static_cast<std::size_t>(questions_at_once)];     // of the query, in its branch
  float largest[static_cast<std::size_t>(questions_at_once)];
  float total[static_cast<std::size_t>(questions_at_once)];
};

/// f over the lanes of v until one is left: a balanced tree.
template <class F>
ZOQ_TARGET inline float fold_lanes(vec v, const F& f) {
  alignas(64) float lane[ZOQ_LANES];
  store(lane, v);
  ZOQ_UNROLL for (int half = ZOQ_LANES / 2; half > 0; half /= 2) {
    ZOQ_UNROLL for (int l = 0; l < half; ++l) { lane[l] = f(lane[l], lane[l + half]); }
  }
  return lane[0];
}

/// Scores of a tile -> weights relative to the running maximum; keys from `limit` on weigh 0. Returns
/// the factor on what was summed before.
ZOQ_TARGET ZOQ_FLATTEN inline float soften(float* weight, index_t limit, float& largest,
                                           float& total) {
  std::fill(weight + limit, weight + key_tile, -INFINITY);
  vec tops = broadcast(largest);
  for (index_t j = 0; j < key_tile; j += ZOQ_LANES) {
    tops = larger(load(weight + j), tops);
  }
  const float top = fold_lanes(tops, [](float a, float b) { return a < b ? b : a; });
  for (index_t j = 0; j < key_tile; ++j) {
    weight[j] = exp_f32(weight[j] - top);
  }
  std::fill(weight + limit, weight + key_tile, 0.0f);
  vec sums = broadcast(0.0f);
  for (index_t j = 0; j < key_tile; j += ZOQ_LANES) {
    sums = add(sums, load(weight + j));
  }
  const float shrink = total == 0 ? 0.0f : top == largest ? 1.0f : exp_f32(largest - top);
  total = total * shrink + fold_lanes(sums, [](float a, float b) { return a + b; });
  largest = top;
  return shrink;
}

/// Folds `count` keys and values, at row `first` of the branch, into the block. `own`: they are of the
/// queries' own segment, of which each sees the rows up to its own.
ZOQ_TARGET inline void see_tile(const attention_task& t, index_t base, index_t first, index_t count,
                                index_t head, bool own, question_block& block, float* sums) {
  const index_t size = t.q.shape[2], stride = t.k.shape[1] * size;
  const index_t from = (base + first) * stride + head * size;
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  alignas(64) float keys[static_cast<std::size_t>(attention_task::largest * key_tile)];
  alignas(64) float weight[static_cast<std::size_t>(questions_at_once * key_tile)];
  turn_keys(t.k.data + from, stride, count, size, keys);
  constexpr int together = ZOQ_LANES == 16 ? 6 : 2;
  by_questions<together>(0, block.count,
                         [&]<int M>(std::integral_constant<int, M>, index_t m) ZOQ_TARGET {
                           score_keys<M>(block.q + m, size, scale, keys, weight + m * key_tile);
                         });
  for (index_t m = 0; m < block.count; ++m) {
    const index_t limit = own ? std::clamp<index_t>(block.row[m] + 1 - first, 0, count) : count;
    float* mine = weight + m * key_tile;
    if (limit == 0) {
      std::fill(mine, mine + key_tile, 0.0f);
      continue;
    }
    const float shrink = soften(mine, limit, block.largest[m], block.total[m]);
    if (shrink != 1) {
      for (index_t d = 0; d < size; ++d) {
        sums[m * size + d] *= shrink;
      }
    }
  }
  const float* values = t.v.data + from;
  index_t d = 0;
  constexpr index_t wide = 4 * ZOQ_LANES;
  for (; d + wide <= size; d += wide) {
    by_questions<together>(0, block.count,
                           [&]<int M>(std::integral_constant<int, M>, index_t m) ZOQ_TARGET {
                             mix_values<M, 4>(weight + m * key_tile, values + d, stride, count,
                                              sums + m * size + d, size);
                           });
  }
  for (index_t m = 0; m < block.count; ++m) {
    for (index_t j = 0; j < count; ++j) {
      for (index_t e = d; e < size; ++e) {
        sums[m * size + e] += weight[m * key_tile + j] * values[j * stride + e];
      }
    }
  }
}

/// Queries of one block: at least one.
inline index_t queries_at_once(index_t heads_of_a_key) {
  return std::max<index_t>(1, questions_at_once / heads_of_a_key);
}

/// The answers of a block, all of whose queries are of one segment.
ZOQ_TARGET inline void answer_block(const attention_task& t, index_t base, index_t head,
                                    question_block& block) {
  const index_t size = t.q.shape[2];
  alignas(64) float sums[static_cast<std::size_t>(questions_at_once * attention_task::largest)];
  std::fill(sums, sums + block.count * size, 0.0f);
  const index_t last = block.row[block.count - 1];
  bool own = true;
  for (index_t s = t.layout.segment_of.data[last]; s >= 0;
       s = t.layout.segments.data[s].parent, own = false) {
    const auto& seen = t.layout.segments.data[s];
    const index_t end = own ? last + 1 : seen.first + seen.count;
    for (index_t first = seen.first; first < end; first += key_tile) {
      see_tile(t, base, first, std::min(key_tile, end - first), head, own, block, sums);
    }
  }
  for (index_t m = 0; m < block.count; ++m) {
    for (index_t d = 0; d < size; ++d) {
      block.out[m][d] = sums[m * size + d] / block.total[m];
    }
  }
}

/// Runs of queries of a branch, each an item for every head of keys.
inline index_t runs_of_queries(const attention_task& t) {
  const index_t at_once = queries_at_once(t.q.shape[1] / t.k.shape[1]);
  return (t.queries + at_once - 1) / at_once;
}

/// Item `item` of a task: a run of queries of one branch, and one head of keys.
ZOQ_TARGET inline void attend(const attention_task& t, index_t item) {
  const index_t heads = t.q.shape[1], size = t.q.shape[2], shared = t.k.shape[1];
  const index_t group = heads / shared, at_once = queries_at_once(group);
  const index_t runs = runs_of_queries(t);
  const index_t head = item % shared, branch = item / shared / runs;
  const index_t begin = item / shared % runs * at_once;
  const index_t end = std::min(begin + at_once, t.queries);
  const index_t base = branch * t.layout.segment_of.shape[0];
  for (index_t some = 0; some < group; some += questions_at_once) {
    const index_t heads_here = std::min(questions_at_once, group - some);
    for (index_t next = begin; next < end;) {
      question_block block;
      const std::int32_t segment = t.layout.segment_of.data[t.row_of[next]];
      for (; next < end && t.layout.segment_of.data[t.row_of[next]] == segment; ++next) {
        for (index_t g = 0; g < heads_here; ++g) {
          const index_t at = ((branch * t.queries + next) * heads + head * group + some + g) * size;
          block.q[block.count] = t.q.data + at;
          block.out[block.count] = t.out.data + at;
          block.row[block.count] = t.row_of[next];
          block.largest[block.count] = -INFINITY;
          block.total[block.count] = 0;
          ++block.count;
        }
      }
      answer_block(t, base, head, block);
    }
  }
}
