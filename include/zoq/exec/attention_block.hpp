// Attention of packed sequences (ops/attention.hpp) as a task of a block of threads.
//
//     exec.run_blocks(task.blocks(), task);     // attention_block<64, attention_head> task{head};
//
// A block takes a stretch of queries and the heads that share one head of keys, and goes through the
// segments of the stretch one after another. Keys and values come in tiles; a thread keeps 4 x 4 scores
// and 4 x 8 means for each 64 coordinates in registers. The softmax runs on line over tiles, which begin
// where segments do, and every question (a query's head) is summed in an order of its own: its bits
// do not depend on what is beside it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/core/math.hpp"
#include "zoq/exec/block.hpp"
#include "zoq/tensor/segment.hpp"

namespace zoq {

/// Heads of at most `Size` coordinates: 64, 128 or 256. `Task` is attention_head, or has its members.
template <int Size, class Task>
struct attention_block {
  static constexpr int threads = 128;                      // of a block
  static constexpr int questions = Size <= 128 ? 64 : 32;  // queries times heads, at once
  static constexpr int keys = 32;                          // of a tile
  static constexpr int stretch = 64;                       // coordinates of a tile
  static constexpr int stretches = Size / stretch;         // of a head
  // A thread's share: every 16th question, every 8th key or four coordinates.
  static constexpr int down = 16,                        // threads by questions
      across = 8;                                        // threads by keys, or by fours
  static constexpr int my_questions = questions / down;  // of a thread
  static constexpr int my_keys = keys / across;          // of a thread's scores
  static constexpr int my_fours = stretch / 4 / across;  // of each stretch of a thread's means
  static_assert(Size % stretch == 0 && down * across == threads);

  Task task;  // what is asked, and where answers go

  /// Memory of a block. Rows are longer by a four than need be: neighbours lie in different banks.
  struct shared {
    /// Coordinates of the questions.
    floats4 q[static_cast<std::size_t>(questions)][static_cast<std::size_t>(Size / 4 + 1)];
    /// One stretch of the tile's keys or values.
    floats4 tile[static_cast<std::size_t>(keys)][static_cast<std::size_t>(stretch / 4 + 1)];
    /// Scores of the tile, then weights.
    floats4 weight[static_cast<std::size_t>(questions)][static_cast<std::size_t>(keys / 4 + 1)];
    float largest[static_cast<std::size_t>(questions)];         // score so far
    float shrink[static_cast<std::size_t>(questions)];          // factor on earlier sums
    std::int32_t row[static_cast<std::size_t>(questions)];      // of each query
    std::int32_t segment[static_cast<std::size_t>(questions)];  // of each query's row
  };

  /// Registers of a thread.
  struct mine {
    /// Scores of the tile's keys.
    float score[static_cast<std::size_t>(my_questions)][static_cast<std::size_t>(my_keys)];
    /// Weighted sums of values.
    floats4 sum[static_cast<std::size_t>(stretches)][static_cast<std::size_t>(my_questions)]
               [static_cast<std::size_t>(my_fours)];
    float total[static_cast<std::size_t>(my_questions)];  // of weights
  };

  /// Blocks of threads that answer all of the task.
  [[nodiscard]] ZOQ_HD index_t blocks() const {
    return task.q.shape[0] / task.queries * task.k.shape[1] * head_chunks() * query_chunks();
  }

  template <class Block>
  ZOQ_HD void operator()(Block& block) const {
    const index_t item = block.index() / query_chunks();
    const index_t branch = item / (task.k.shape[1] * head_chunks());
    const index_t first = block.index() % query_chunks() * queries_at_once();
    const auto count = static_cast<int>(least(queries_at_once(), task.queries - first));
    auto own = block.template local<mine>();
    block.each([&](int t) {
      if (t < count) {
        block.shared().row[t] = task.row_of[first + t];
        block.shared().segment[t] = task.layout.segment_of.data[task.row_of[first + t]];
      }
    });
    const std::int32_t* segments = block.shared().segment;
    for (int begin = 0; begin < count;) {  // the queries of one segment after another
      run_of_queries run{branch * task.queries + first,
                         item / head_chunks() % task.k.shape[1],
                         item % head_chunks() * heads_at_once(),
                         static_cast<int>(heads_at_once()),
                         begin,
                         begin + 1};
      while (run.end < count && segments[run.end] == segments[begin]) {
        ++run.end;
      }
      answer(block, own, run, branch, segments[begin]);
      begin = run.end;
    }
  }

 private:
  /// The questions that are answered together: `heads` heads of each query.
  struct run_of_queries {
    index_t query;        // the block's first one, in [0, branches * Q)
    index_t shared_head;  // of keys and values
    index_t first_head;   // of those that share it
    int heads;
    int begin, end;  // queries of one segment, counted from the block's first one
  };

  static ZOQ_HD index_t least(index_t a, index_t b) { return a < b ? a : b; }
  [[nodiscard]] ZOQ_HD index_t group() const { return task.q.shape[1] / task.k.shape[1]; }
  [[nodiscard]] ZOQ_HD index_t heads_at_once() const { return least(group(), questions); }
  [[nodiscard]] ZOQ_HD index_t head_chunks() const {
    return (group() + heads_at_once() - 1) / heads_at_once();
  }
  [[nodiscard]] ZOQ_HD index_t queries_at_once() const { return questions / heads_at_once(); }
  [[nodiscard]] ZOQ_HD index_t query_chunks() const {
    return (task.queries + queries_at_once() - 1) / queries_at_once();
  }
  // Where question m begins in q and out, or -1.
  [[nodiscard]] ZOQ_HD index_t offset_of(const run_of_queries& run, int m) const {
    const int query = run.begin + m / run.heads;
    const index_t head = run.first_head + m % run.heads;
    if (query >= run.end || head >= group()) {
      return -1;
    }
    return ((run.query + query) * task.q.shape[1] + run.shared_head * group() + head) *
           task.q.shape[2];
  }

  template <class Block, class Own>
  ZOQ_HD void answer(Block& block, Own& own, const run_of_queries& run, index_t branch,
                     std::int32_t number) const {
    start(block, own, run);
    const index_t rows = task.layout.segment_of.shape[0];
    for (index_t s = number; s >= 0; s = task.layout.segments.data[s].parent) {
      const segment& seen = task.layout.segments.data[s];
      index_t end = seen.first + seen.count;
      if (s == number) {  // rows after the last query's are not seen
        end = 0;
        for (int i = run.begin; i < run.end; ++i) {
          end = block.shared().row[i] >= end ? block.shared().row[i] + 1 : end;
        }
      }
      for (index_t first = seen.first; first < end; first += keys) {
        const index_t n = least(end - first, keys);
        const index_t from =
            ((branch * rows + first) * task.k.shape[1] + run.shared_head) * task.k.shape[2];
        by_stretches(block, task.k.data + from, n,
                     [&](int t, int i) { add_scores(block, own[t], t, i); });
        weigh(block, own, run, s == number, first, n);
        by_stretches(block, task.v.data + from, n,
                     [&](int t, int i) { add_values(block, own[t], t, i); });
      }
    }
    finish(block, own, run);
  }

  // Questions to shared memory; nothing summed, nothing seen.
  template <class Block, class Own>
  ZOQ_HD void start(Block& block, Own& own, const run_of_queries& run) const {
    const index_t size = task.q.shape[2];
    block.each([&](int t) {
      own[t] = mine{};
      for (int m = t / stretch; m < questions; m += threads / stretch) {
        const index_t offset = offset_of(run, m);
        for (int d = t % stretch; d < Size; d += stretch) {
          block.shared().q[m][d / 4].at[d % 4] =
              offset >= 0 && d < size ? task.q.data[offset + d] : 0.0f;
        }
      }
      if (t < questions) {
        block.shared().largest[t] = -INFINITY;
      }
    });
  }

  // Coordinates [coordinate, coordinate + stretch) of n rows of keys or values; zeros beyond.
  template <class Block>
  ZOQ_HD void load(Block& block, int t, const float* from, int coordinate, index_t n) const {
    const index_t size = task.k.shape[2];
    const index_t stride = task.k.shape[1] * size;
    const int d = t % stretch;
    ZOQ_UNROLL_BLOCK for (int j = t / stretch; j < keys; j += threads / stretch) {
      block.shared().tile[j][d / 4].at[d % 4] =
          j < n && coordinate + d < size ? from[j * stride + coordinate + d] : 0.0f;
    }
  }

  // add(t, i) in every thread for every stretch i of the tile's n rows from `from` on, once it is there.
  template <class Block, class F>
  ZOQ_HD void by_stretches(Block& block, const float* from, index_t n, const F& add) const {
    ZOQ_UNROLL_BLOCK for (int i = 0; i < stretches; ++i) {
      if (i * stretch < task.q.shape[2]) {
        block.each([&](int t) { load(block, t, from, i * stretch, n); });
        block.each([&](int t) { add(t, i); });
      }
    }
  }

  // The scores of a tile, to registers.
  template <class Block>
  ZOQ_HD void add_scores(Block& block, mine& own, int t, int s) const {
    const auto& memory = block.shared();
    for (int d = 0; d < stretch / 4; ++d) {
      floats4 key[static_cast<std::size_t>(my_keys)];
      ZOQ_UNROLL_BLOCK for (int j = 0; j < my_keys; ++j) {
        key[j] = memory.tile[t % across + j * across][d];
      }
      ZOQ_UNROLL_BLOCK for (int m = 0; m < my_questions; ++m) {
        const floats4 q = memory.q[t / across + m * down][s * (stretch / 4) + d];
        ZOQ_UNROLL_BLOCK for (int j = 0; j < my_keys; ++j) {
          ZOQ_UNROLL_BLOCK for (int l = 0; l < 4; ++l) {
            own.score[m][j] += q.at[l] * key[j].at[l];
          }
        }
      }
    }
  }

  // Scores -> weights relative to the largest score so far. A key that a question does not see weighs
  // nothing; in the first tile every question sees a key.
  template <class Block, class Own>
  ZOQ_HD void weigh(Block& block, Own& own, const run_of_queries& run, bool own_segment,
                    index_t first, index_t n) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(task.q.shape[2]));
    const auto limit_of = [&](int m) {  // how many keys of the tile question m sees
      const int query = run.begin + m / run.heads;
      return own_segment && query < run.end ? least(block.shared().row[query] + 1 - first, n) : n;
    };
    block.each([&](int t) {
      ZOQ_UNROLL_BLOCK for (int i = 0; i < my_questions; ++i) {
        const int m = t / across + i * down;
        const index_t limit = limit_of(m);
        ZOQ_UNROLL_BLOCK for (int k = 0; k < my_keys; ++k) {
          const int j = t % across + k * across;
          own[t].score[i][k] = j < limit ? own[t].score[i][k] * scale : -INFINITY;
          block.shared().weight[m][j / 4].at[j % 4] = own[t].score[i][k];
        }
      }
    });
    block.each([&](int t) {
      if (t < questions) {
        const float before = block.shared().largest[t];
        float top = before;
        ZOQ_UNROLL_BLOCK for (int j = 0; j < keys / 4; ++j) {
          const floats4 scores = block.shared().weight[t][j];
          ZOQ_UNROLL_BLOCK for (int l = 0; l < 4; ++l) {
            top = scores.at[l] > top ? scores.at[l] : top;
          }
        }
        block.shared().largest[t] = top;
        block.shared().shrink[t] = exp_f32(before - top);
      }
    });
    block.each([&](int t) {
      ZOQ_UNROLL_BLOCK for (int i = 0; i < my_questions; ++i) {
        const int m = t / across + i * down;
        const index_t limit = limit_of(m);
        ZOQ_UNROLL_BLOCK for (int k = 0; k < my_keys; ++k) {
          const int j = t % across + k * across;
          block.shared().weight[m][j / 4].at[j % 4] =
              j < limit ? exp_f32(own[t].score[i][k] - block.shared().largest[m]) : 0.0f;
          own[t].score[i][k] = 0;
        }
      }
    });
  }

  // Folds the values of a tile into the weighted sums.
  template <class Block>
  ZOQ_HD void add_values(Block& block, mine& own, int t, int s) const {
    const auto& memory = block.shared();
    ZOQ_UNROLL_BLOCK for (int m = 0; m < my_questions; ++m) {
      const float shrink = memory.shrink[t / across + m * down];
      own.total[m] = s == 0 ? own.total[m] * shrink : own.total[m];
      ZOQ_UNROLL_BLOCK for (int c = 0; c < my_fours; ++c) {
        ZOQ_UNROLL_BLOCK for (int l = 0; l < 4; ++l) { own.sum[s][m][c].at[l] *= shrink; }
      }
    }
    for (int j = 0; j < keys; j += 4) {
      floats4 weight[static_cast<std::size_t>(my_questions)];
      ZOQ_UNROLL_BLOCK for (int m = 0; m < my_questions; ++m) {
        weight[m] = memory.weight[t / across + m * down][j / 4];
      }
      ZOQ_UNROLL_BLOCK for (int i = 0; i < 4; ++i) {
        ZOQ_UNROLL_BLOCK for (int c = 0; c < my_fours; ++c) {
          const floats4 value = memory.tile[j + i][t % across + c * across];
          ZOQ_UNROLL_BLOCK for (int m = 0; m < my_questions; ++m) {
            ZOQ_UNROLL_BLOCK for (int l = 0; l < 4; ++l) {
              own.sum[s][m][c].at[l] += weight[m].at[i] * value.at[l];
            }
          }
        }
        ZOQ_UNROLL_BLOCK for (int m = 0; m < my_questions; ++m) {
          own.total[m] += s == 0 ? weight[m].at[i] : 0.0f;
        }
      }
    }
  }

  template <class Block, class Own>
  ZOQ_HD void finish(Block& block, Own& own, const run_of_queries& run) const {
    block.each([&](int t) {
      ZOQ_UNROLL_BLOCK for (int m = 0; m < my_questions; ++m) {
        const index_t offset = offset_of(run, t / across + m * down);
        ZOQ_UNROLL_BLOCK for (int s = 0; s < stretches; ++s) {
          ZOQ_UNROLL_BLOCK for (int c = 0; c < my_fours; ++c) {
            ZOQ_UNROLL_BLOCK for (int l = 0; l < 4; ++l) {
              const int d = s * stretch + (t % across + c * across) * 4 + l;
              if (offset >= 0 && d < task.q.shape[2]) {
                task.out.data[offset + d] = own[t].sum[s][m][c].at[l] / own[t].total[m];
              }
            }
          }
        }
      }
    });
  }
};

/// f(block task) with the smallest one that the task's heads fit.
template <class Task, class F>
void with_attention_block(const Task& task, const F& f) {
  if (task.q.shape[2] <= 64) {
    f(attention_block<64, Task>{task});
  } else if (task.q.shape[2] <= 128) {
    f(attention_block<128, Task>{task});
  } else {
    static_assert(Task::largest <= 256);
    f(attention_block<256, Task>{task});
  }
}

}  // namespace zoq
