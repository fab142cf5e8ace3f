// The reverse of the operations of a layer: from the gradient of an output to that of its inputs.
// For offline scoring only; tuning is forward-only and never includes this.
//
//     zoq::rms_norm_reverse(exec, x, gain, epsilon, dy, dx);    // dx += d(rms_norm)/dx dy
//     zoq::swiglu_reverse(exec, gate, up, dy, dgate, dup);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/segment.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// With s = 1 / sqrt(mean(x^2) + epsilon) and u = gain * dy:  dx += s u - x s^3 mean(u x).
struct rms_norm_reverse_row {
  tensor_view<const float, 2> x;     // [R, C]
  tensor_view<const float, 1> gain;  // [C]
  float epsilon;                     // under the root
  tensor_view<const float, 2> dy;    // [R, C]
  tensor_view<float, 2> dx;          // [R, C] added to

  ZOQ_HD void operator()(index_t r) const {
    const index_t n = x.shape[1];
    const float* in = x.data + r * n;
    const float* out = dy.data + r * n;
    const float s = 1.0f / std::sqrt(dot_lanes(in, in, n) / static_cast<float>(n) + epsilon);
    double along = 0;
    for (index_t c = 0; c < n; ++c) {
      along += static_cast<double>(gain.data[c] * out[c]) * static_cast<double>(in[c]);
    }
    const float pull = static_cast<float>(along / static_cast<double>(n)) * s * s * s;
    for (index_t c = 0; c < n; ++c) {
      dx.data[r * n + c] += s * gain.data[c] * out[c] - pull * in[c];
    }
  }
};

/// Adds to dx. x, dy, dx: [R, C], gain: [C].
template <executor X>
void rms_norm_reverse(const X& exec, tensor_view<const float, 2> x,
                      tensor_view<const float, 1> gain, float epsilon,
                      tensor_view<const float, 2> dy, tensor_view<float, 2> dx) {
  require(x.size() == dy.size() && x.size() == dx.size() && x.shape[1] == gain.shape[0],
          "rms_norm_reverse: shapes disagree");
  exec.for_each(x.shape[0], rms_norm_reverse_row{x, gain, epsilon, dy, dx});
}

/// y = silu(g) u:  dg = dy u (p + g p (1 - p)), du = dy g p, with p = 1 / (1 + e^-g).
struct swiglu_reverse_row {
  tensor_view<const float, 2> gate,  // [R, F] g, before silu
      up,                            // [R, F] u
      dy;                            // [R, F]
  tensor_view<float, 2> dgate,       // [R, F] overwritten
      dup;                           // [R, F] overwritten

  ZOQ_HD void operator()(index_t r) const {
    const index_t n = gate.shape[1];
    for (index_t i = r * n; i < (r + 1) * n; ++i) {
      const float g = gate.data[i];
      const float p = 1.0f / (1.0f + exp_f32(-g));
      const float d = dy.data[i];
      dgate.data[i] = d * up.data[i] * (p + g * p * (1.0f - p));
      dup.data[i] = d * g * p;
    }
  }
};

/// All [R, F]. Overwrites dgate and dup.
template <executor X>
void swiglu_reverse(const X& exec, tensor_view<const float, 2> gate, tensor_view<const float, 2> up,
                    tensor_view<const float, 2> dy, tensor_view<float, 2> dgate,
                    tensor_view<float, 2> dup) {
  require(gate.size() == up.size() && gate.size() == dy.size() && gate.size() == dgate.size() &&
              gate.size() == dup.size(),
          "swiglu_reverse: shapes disagree");
  exec.for_each(gate.shape[0], swiglu_reverse_row{gate, up, dy, dgate, dup});
}

/// One shared head of one text: all queries of the heads that share its keys and values. A text is a
/// run of segments that see only each other: a window, or a prompt with its options.
/// p = softmax(q k / sqrt(D));  dv = p^T do;  dp = do v^T;  ds = p (dp - sum(p dp));
/// dq = ds k / sqrt(D);  dk = ds^T q / sqrt(D).
struct attention_reverse_head {
  tensor_view<const float, 3> q,                 // [T, H, D]
      k,                                         // [T, K, D]
      v,                                         // [T, K, D]
      d_out;                                     // [T, H, D]
  tensor_view<float, 3> dq,                      // [T, H, D] overwritten
      dk,                                        // [T, K, D] overwritten
      dv;                                        // [T, K, D] overwritten
  tensor_view<float, 3> scratch;                 // [texts * K, 2, the most positions of a text]
  row_layout layout;                             // of the T rows
  tensor_view<const std::int32_t, 1> first_seg;  // [texts + 1] the first segment of each, and S

  ZOQ_HD void operator()(index_t i) const {
    const index_t shared = k.shape[1];
    const index_t group = q.shape[1] / shared;
    const index_t head = i % shared;
    const index_t text = i / shared;
    const segment& begin = layout.segments.data[first_seg.data[text]];
    const segment& end = layout.segments.data[first_seg.data[text + 1] - 1];
    for (index_t t = begin.first; t < end.first + end.count; ++t) {
      for (index_t d = 0; d < k.shape[2]; ++d) {
        dk(t, head, d) = 0;
        dv(t, head, d) = 0;
      }
    }
    for (index_t g = 0; g < group; ++g) {
      for (index_t t = begin.first; t < end.first + end.count; ++t) {
        reverse_query(t, head, head * group + g, scratch.row(i).data);
      }
    }
  }

 private:
  static ZOQ_HD void add_scaled(float scale, const float* x, index_t n, float* y) {
    for (index_t d = 0; d < n; ++d) {
      y[d] += scale * x[d];
    }
  }

  /// The keys that row t sees in one segment of its chain: rows first + j, at position position + j.
  struct run {
    index_t first, count, position;
  };
  [[nodiscard]] ZOQ_HD run seen(index_t s, index_t t) const {
    const segment& at = layout.segments.data[s];
    const bool own = s == layout.segment_of.data[t];
    return {at.first, own ? t - at.first + 1 : at.count, at.position};
  }

  ZOQ_HD void reverse_query(index_t t, index_t head, index_t q_head, float* p) const {
    const index_t size = q.shape[2];
    const index_t stride = k.shape[1] * size;
    const index_t own = layout.segment_of.data[t];
    const segment* segments = layout.segments.data;
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    const float* question = &q(t, q_head, index_t{0});
    const float* answer = &d_out(t, q_head, index_t{0});
    const float* keys = &k(index_t{0}, head, index_t{0});
    const float* values = &v(index_t{0}, head, index_t{0});
    float* dp = p + scratch.shape[2];
    float largest = -INFINITY;
    for (index_t s = own; s >= 0; s = segments[s].parent) {
      const run r = seen(s, t);
      for (index_t j = 0; j < r.count; ++j) {
        const float x = scale * dot_lanes(question, keys + (r.first + j) * stride, size);
        p[r.position + j] = x;
        largest = x > largest ? x : largest;
      }
    }
    const index_t all = segments[own].position + t - segments[own].first + 1;
    double total = 0;
    for (index_t j = 0; j < all; ++j) {
      p[j] = exp_f32(p[j] - largest);
      total += static_cast<double>(p[j]);
    }
    double along = 0;
    for (index_t s = own; s >= 0; s = segments[s].parent) {
      const run r = seen(s, t);
      for (index_t j = r.position; j < r.position + r.count; ++j) {
        p[j] = static_cast<float>(static_cast<double>(p[j]) / total);
        dp[j] = dot_lanes(answer, values + (r.first + j - r.position) * stride, size);
        along += static_cast<double>(p[j]) * static_cast<double>(dp[j]);
      }
    }
    float* question_gradient = &dq(t, q_head, index_t{0});
    for (index_t d = 0; d < size; ++d) {
      question_gradient[d] = 0;
    }
    for (index_t s = own; s >= 0; s = segments[s].parent) {
      const run r = seen(s, t);
      for (index_t j = r.position; j < r.position + r.count; ++j) {
        const index_t row = r.first + j - r.position;
        const float ds = p[j] * (dp[j] - static_cast<float>(along)) * scale;
        add_scaled(ds, keys + row * stride, size, question_gradient);
        add_scaled(ds, question, size, &dk(row, head, index_t{0}));
        add_scaled(p[j], answer, size, &dv(row, head, index_t{0}));
      }
    }
  }
};

/// Texts of any lengths, whose options share their prompt's keys and values. The caller has checked
/// the segments. Overwrites dq, dk and dv. 5 products of every seen pair of rows.
template <executor X>
void attention_reverse(const X& exec, const attention_reverse_head& all) {
  const index_t texts = all.first_seg.shape[0] - 1;
  require(texts > 0 && all.layout.segment_of.shape[0] == all.q.shape[0] &&
              all.k.shape[0] == all.q.shape[0] && all.scratch.shape[0] == texts * all.k.shape[1] &&
              all.scratch.shape[1] == 2,
          "attention_reverse: ", all.q.shape[0], " queries, ", all.k.shape[0],
          " keys and scratch for ", all.scratch.shape[0], " heads are not the rows and heads of ",
          texts, " texts");
  exec.for_each(texts * all.k.shape[1], all);
}

/// The gradient of sum_j weight[j] log p(target[j]) towards the logits, row by row and in place; the
/// reads of row r are [first[r], first[r + 1]):
///
///     logits <- sum_j weight[j] (one-hot(target[j]) - softmax(logits))
struct likelihood_reverse_row {
  tensor_view<float, 2> logits;  // [R, V]
  const double* normaliser;      // [R]
  const std::int32_t* first;     // [R + 1]
  const token_t* target;         // [reads]
  const float* weight;           // [reads]

  ZOQ_HD void operator()(index_t r) const {
    float* row = logits.data + r * logits.shape[1];
    const auto shift = static_cast<float>(normaliser[r]);
    float all = 0;
    for (index_t j = first[r]; j < first[r + 1]; ++j) {
      all += weight[j];
    }
    for (index_t v = 0; v < logits.shape[1]; ++v) {
      row[v] = -all * exp_f32(row[v] - shift);
    }
    for (index_t j = first[r]; j < first[r + 1]; ++j) {
      row[target[j]] += weight[j];
    }
  }
};

/// The reverse of the overlay of `linear`: dx[r, column[j]] += value[j] dy[r, row[j]]. One branch.
struct overlay_reverse_row {
  sparse_part part;                // of the one branch
  tensor_view<const float, 2> dy;  // [R, O]
  tensor_view<float, 2> dx;        // [R, C]

  ZOQ_HD void operator()(index_t r) const {
    const float* out = dy.data + r * dy.shape[1];
    float* in = dx.data + r * dx.shape[1];
    const float* value = part.values.data + part.first;
    for (index_t j = 0; j < part.row.shape[0]; ++j) {
      in[part.column.data[j]] += value[j] * out[part.row.data[j]];
    }
  }
};

/// to[row_of[i]] = from[i]: the reverse of picking rows. from: [Q, C], row_of: [Q], each row once.
struct scatter_row {
  tensor_view<const float, 2> from;  // [Q, C]
  const std::int32_t* row_of;        // [Q]
  tensor_view<float, 2> to;          // [T, C]
  ZOQ_HD void operator()(index_t i) const {
    for (index_t c = 0; c < from.shape[1]; ++c) {
      to.data[row_of[i] * to.shape[1] + c] = from.data[i * from.shape[1] + c];
    }
  }
};

}  // namespace zoq
