// The reverse of the operations of a layer: from the gradient of an output to that of its inputs.
// For offline scoring only; tuning is forward-only and never includes this.
//
//     zoq::rms_norm_reverse(exec, x, gain, epsilon, dy, dx);    // dx += d(rms_norm)/dx dy
//     zoq::swiglu_reverse(exec, gate, up, dy, dgate, dup);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/math.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// With s = 1 / sqrt(mean(x^2) + epsilon) and u = gain * dy:  dx += s u - x s^3 mean(u x).
struct rms_norm_reverse_row {
  tensor_view<const float, 2> x;
  tensor_view<const float, 1> gain;
  float epsilon;
  tensor_view<const float, 2> dy;
  tensor_view<float, 2> dx;

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
  tensor_view<const float, 2> gate, up, dy;
  tensor_view<float, 2> dgate, dup;

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

/// One shared head of one causal window: all queries of the heads that share its keys and values.
/// p = softmax(q k / sqrt(D));  dv = p^T do;  dp = do v^T;  ds = p (dp - sum(p dp));
/// dq = ds k / sqrt(D);  dk = ds^T q / sqrt(D).
struct attention_reverse_head {
  tensor_view<const float, 3> q, k, v, d_out;  // [W * T, H | K, D]
  tensor_view<float, 3> dq, dk, dv;            // the same; overwritten
  tensor_view<float, 3> scratch;               // [W * K, 2, T]
  index_t length;                              // T, rows of a window

  ZOQ_HD void operator()(index_t i) const {
    const index_t shared = k.shape[1];
    const index_t group = q.shape[1] / shared;
    const index_t head = i % shared;
    const index_t first = i / shared * length;
    for (index_t t = 0; t < length; ++t) {
      for (index_t d = 0; d < k.shape[2]; ++d) {
        dk(first + t, head, d) = 0;
        dv(first + t, head, d) = 0;
      }
    }
    for (index_t g = 0; g < group; ++g) {
      for (index_t t = 0; t < length; ++t) {
        reverse_query(first, t, head, head * group + g, scratch.row(i).data);
      }
    }
  }

 private:
  static ZOQ_HD void add_scaled(float scale, const float* x, index_t n, float* y) {
    for (index_t d = 0; d < n; ++d) {
      y[d] += scale * x[d];
    }
  }

  ZOQ_HD void reverse_query(index_t first, index_t t, index_t head, index_t q_head,
                            float* p) const {
    const index_t size = q.shape[2];
    const index_t stride = k.shape[1] * size;
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    const float* question = &q(first + t, q_head, index_t{0});
    const float* answer = &d_out(first + t, q_head, index_t{0});
    const float* keys = &k(first, head, index_t{0});
    const float* values = &v(first, head, index_t{0});
    float* dp = p + length;
    float largest = -INFINITY;
    for (index_t j = 0; j <= t; ++j) {
      p[j] = scale * dot_lanes(question, keys + j * stride, size);
      largest = p[j] > largest ? p[j] : largest;
    }
    double total = 0;
    for (index_t j = 0; j <= t; ++j) {
      p[j] = exp_f32(p[j] - largest);
      total += static_cast<double>(p[j]);
    }
    double along = 0;
    for (index_t j = 0; j <= t; ++j) {
      p[j] = static_cast<float>(static_cast<double>(p[j]) / total);
      dp[j] = dot_lanes(answer, values + j * stride, size);
      along += static_cast<double>(p[j]) * static_cast<double>(dp[j]);
    }
    float* question_gradient = &dq(first + t, q_head, index_t{0});
    for (index_t d = 0; d < size; ++d) {
      question_gradient[d] = 0;
    }
    for (index_t j = 0; j <= t; ++j) {
      const float ds = p[j] * (dp[j] - static_cast<float>(along)) * scale;
      add_scaled(ds, keys + j * stride, size, question_gradient);
      add_scaled(ds, question, size, &dk(first + j, head, index_t{0}));
      add_scaled(p[j], answer, size, &dv(first + j, head, index_t{0}));
    }
  }
};

/// Windows of `length` rows, each causal. scratch: [windows * K, 2, length].
template <executor X>
void attention_reverse(const X& exec, const attention_reverse_head& all) {
  const index_t windows = all.q.shape[0] / all.length;
  require(all.q.shape[0] % all.length == 0 && all.scratch.shape[0] == windows * all.k.shape[1] &&
              all.scratch.shape[2] == all.length,
          "attention_reverse: ", all.q.shape[0], " rows are not whole windows of ", all.length);
  exec.for_each(windows * all.k.shape[1], all);
}

/// logits <- (softmax(logits) - one-hot(target)) * weight, row by row: the gradient of
/// weight * cross-entropy towards the logits. The loss of every row goes to `loss`.
struct cross_entropy_reverse_row {
  tensor_view<float, 2> logits;  // [R, V]
  const token_t* target;         // [R]; negative: the row has no loss
  float weight;
  double* loss;              // [R]
  const double* normaliser;  // [R]

  ZOQ_HD void operator()(index_t r) const {
    float* row = logits.data + r * logits.shape[1];
    const token_t wanted = target[r];
    const auto shift = static_cast<float>(normaliser[r]);
    loss[r] = wanted < 0 ? 0.0 : normaliser[r] - static_cast<double>(row[wanted]);
    const float scale = wanted < 0 ? 0.0f : weight;
    for (index_t v = 0; v < logits.shape[1]; ++v) {
      row[v] = scale * exp_f32(row[v] - shift);
    }
    if (wanted >= 0) {
      row[wanted] -= weight;
    }
  }
};

}  // namespace zoq
