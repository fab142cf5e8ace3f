// A Llama forward pass in double, fast enough to be the reference of a model of real size: what the
// reduced precision of zoq::llama_forward is measured against.
//
//     zoq::bench::llama_f64 exact(exec, model);
//     zoq::evaluate(exact, view.branches(), objective, rows);   // where llama_forward would stand
//
// Weights are decoded as everywhere (to float, which is exact) and widened; the view's values are
// the floats that the view made, widened. All arithmetic after that is double: products, overlay,
// norms, rotary angles, softmax, logits. So a difference to llama_forward is one of arithmetic.
//
// No tricks but one: products go over panels of outputs that are decoded once for all rows, in a
// register-blocked loop (about three quarters of a core's peak in double with AVX-512).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>
#include <zoq/core/config.hpp>
#include <zoq/core/error.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/ops/parts.hpp>
#include <zoq/quant/formats.hpp>
#include <zoq/tensor/executor.hpp>
#include <zoq/tensor/packing.hpp>

namespace zoq::bench {

namespace f64 {

typedef double lanes8 __attribute__((vector_size(64)));  // NOLINT: no `using` in older compilers

/// Outputs [32 i, 32 i + 32) of y = x W^T for all rows.
template <quant_scheme S>
struct product_panel {
  static constexpr index_t width = 32;   // outputs
  static constexpr index_t depth = 512;  // columns of W at a time: 128 KiB, a multiple of any block
  static constexpr index_t tile = 6;     // rows

  packed_view<S> w;  // [O, C]
  const double* x;   // [R, C]
  double* y;         // [R, O]
  index_t rows;

  void operator()(index_t i) const {
    alignas(64) double panel[width / 8 * depth * 8];  // [width / 8][depth][8]
    const index_t first = i * width;
    const index_t outputs = std::min(width, w.shape[0] - first);
    for (index_t begin = 0; begin < w.shape[1]; begin += depth) {
      const index_t n = std::min(depth, w.shape[1] - begin);
      decode(first, outputs, begin, n, panel);
      for (index_t r = 0; r < rows; r += tile) {
        for (index_t o = 0; o < outputs; o += 8) {
          const double* from = panel + o * depth;
          const index_t lanes = std::min<index_t>(8, outputs - o);
          if (rows - r >= tile) {
            multiply<tile>(r, begin, n, from, first + o, lanes);
          } else {
            for (index_t one = r; one < rows; ++one) {
              multiply<1>(one, begin, n, from, first + o, lanes);
            }
          }
        }
      }
    }
  }

 private:
  void decode(index_t first, index_t outputs, index_t begin, index_t n, double* panel) const {
    static_assert(depth % S::block_size == 0);
    float values[static_cast<std::size_t>(S::block_size)];
    for (index_t o = 0; o < width; ++o) {
      const index_t row = first + std::min(o, outputs - 1);  // lanes beyond the last repeat it
      double* lane = panel + o / 8 * depth * 8 + o % 8;
      for (index_t c = 0; c < n; c += S::block_size) {
        S::decode(w.row(row), w.block(row, (begin + c) / S::block_size), values);
        for (index_t j = 0; j < S::block_size; ++j) {
          lane[(c + j) * 8] = static_cast<double>(values[j]);
        }
      }
    }
  }

  // y[r .. r + Rows, o .. o + lanes] = (begin ? the same : 0) + the products of n columns.
  template <index_t Rows>
  void multiply(index_t r, index_t begin, index_t n, const double* panel, index_t o,
                index_t lanes) const {
    const index_t inputs = w.shape[1], outputs = w.shape[0];
    const double* in = x + r * inputs + begin;
    lanes8 sum[static_cast<std::size_t>(Rows)] = {};
    for (index_t c = 0; c < n; ++c) {
      lanes8 weight;
      std::memcpy(&weight, panel + c * 8, sizeof weight);
      for (index_t m = 0; m < Rows; ++m) {
        sum[m] += in[m * inputs + c] * weight;
      }
    }
    for (index_t m = 0; m < Rows; ++m) {
      double* out = y + (r + m) * outputs + o;
      for (index_t l = 0; l < lanes; ++l) {
        out[l] = (begin == 0 ? 0.0 : out[l]) + sum[m][l];
      }
    }
  }
};

/// Adds a branch's values to one row of y.
struct overlay_row {
  sparse_part part;
  const double* x;  // [branches * T, C]
  double* y;        // [branches * T, O]
  index_t inputs, outputs, rows_per_branch;

  void operator()(index_t r) const {
    const float* value = part.values.data + r / rows_per_branch * part.values.shape[1] + part.first;
    for (index_t j = 0; j < part.row.shape[0]; ++j) {
      y[r * outputs + part.row.data[j]] +=
          static_cast<double>(value[j]) * x[r * inputs + part.column.data[j]];
    }
  }
};

struct norm_row {
  const double* x;  // [R, C]
  const double* gain;
  double* y;
  index_t columns;
  double epsilon;

  void operator()(index_t r) const {
    const double* in = x + r * columns;
    double squares = 0;
    for (index_t c = 0; c < columns; ++c) {
      squares += in[c] * in[c];
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(columns) + epsilon);
    for (index_t c = 0; c < columns; ++c) {
      y[r * columns + c] = in[c] * scale * gain[c];
    }
  }
};

/// Turns the pairs (2 i, 2 i + 1) of every head of a row by position * base^(-2 i / D).
struct turn_row {
  double* x;  // [branches * T, heads * D]
  const index_t* position;
  index_t columns, head_size, rows_per_branch;
  double base;

  void operator()(index_t r) const {
    const auto at = static_cast<double>(position[r % rows_per_branch]);
    for (index_t i = 0; i < head_size; i += 2) {
      const double angle =
          at * std::pow(base, -static_cast<double>(i) / static_cast<double>(head_size));
      const double cosine = std::cos(angle), sine = std::sin(angle);
      for (double* pair = x + r * columns + i; pair < x + (r + 1) * columns; pair += head_size) {
        const double a = pair[0], b = pair[1];
        pair[0] = a * cosine - b * sine;
        pair[1] = a * sine + b * cosine;
      }
    }
  }
};

/// One head of one row, over the rows that it sees: its segment's up to itself, and all of the
/// segment's ancestors'.
struct attention_head {
  const double *q, *k, *v;        // [branches * T, H * D], [branches * T, K * D] twice
  const packing* batch;           // its segments
  const index_t* segment_of;      // [T]
  double* out;                    // [branches * T, H * D]
  index_t heads, kv_heads, size;  // H, K, D

  void operator()(index_t i) const {
    const index_t row = i / heads, head = i % heads;
    const index_t t = row % batch->rows(), base = row - t;
    std::vector<index_t> seen;
    index_t last = t;
    for (index_t s = segment_of[t]; s >= 0;) {
      const segment& from = batch->segments[static_cast<std::size_t>(s)];
      for (index_t j = from.first; j < from.first + from.count && (last < 0 || j <= last); ++j) {
        seen.push_back(base + j);
      }
      last = -1;
      s = from.parent;
    }
    const index_t stride = kv_heads * size;
    const index_t shared = head / (heads / kv_heads) * size;
    std::vector<double> weight;
    double largest = -INFINITY, total = 0;
    for (const index_t j : seen) {
      double score = 0;
      for (index_t d = 0; d < size; ++d) {
        score += q[i * size + d] * k[j * stride + shared + d];
      }
      weight.push_back(score / std::sqrt(static_cast<double>(size)));
      largest = std::max(largest, weight.back());
    }
    for (double& p : weight) {
      p = std::exp(p - largest);
      total += p;
    }
    std::fill_n(out + i * size, size, 0.0);
    for (std::size_t j = 0; j < seen.size(); ++j) {
      for (index_t d = 0; d < size; ++d) {
        out[i * size + d] += weight[j] / total * v[seen[j] * stride + shared + d];
      }
    }
  }
};

struct add_element {
  const double* from;
  double* to;
  void operator()(index_t i) const { to[i] += from[i]; }
};
struct swiglu_element {
  double* gate;
  const double* up;
  void operator()(index_t i) const { gate[i] *= up[i] / (1 + std::exp(-gate[i])); }
};

}  // namespace f64

template <executor X>
class llama_f64 {
 public:
  /// Keeps references: executor and model must outlive the pass. The executor's compute policy and
  /// its own products play no part; its threads and vector registers do the work.
  llama_f64(const X& exec, const llama& model) : exec_(exec), model_(model) {}

  /// scores: [branches, reads], row-major: the log-likelihood of every read in every branch, as
  /// llama_forward::score gives it. Throws as that does on tokens outside the vocabulary.
  void score(const packing& batch, const branch_parts& branches, std::span<double> scores) {
    std::vector<double> all;
    const std::vector<index_t> rows = logits(batch, branches, all);
    const std::size_t reads = batch.reads.size();
    require(scores.size() == reads * static_cast<std::size_t>(branches.count),
            "f64: ", scores.size(), " places for ", reads, " scores of ", branches.count,
            " branches");
    const index_t columns = model_.config().vocabulary;
    const auto count = static_cast<index_t>(rows.size());
    for (index_t b = 0; b < branches.count; ++b) {
      std::vector<double> normaliser;
      for (index_t i = 0; i < count; ++i) {
        const std::span row(all.data() + (b * count + i) * columns,
                            static_cast<std::size_t>(columns));
        const double largest = *std::max_element(row.begin(), row.end());
        double total = 0;
        for (const double x : row) {
          total += std::exp(x - largest);
        }
        normaliser.push_back(largest + std::log(total));
      }
      for (std::size_t r = 0; r < reads; ++r) {
        const token_read& read = batch.reads[r];
        require(read.target >= 0 && read.target < columns, "f64: target ", read.target,
                " is outside the vocabulary of ", columns);
        const index_t i = std::lower_bound(rows.begin(), rows.end(), read.row) - rows.begin();
        scores[static_cast<std::size_t>(b) * reads + r] =
            all[static_cast<std::size_t>((b * count + i) * columns + read.target)] -
            normaliser[static_cast<std::size_t>(i)];
      }
    }
  }

  /// All logits of the rows that are read, [branches, read rows, V], in the order of the rows,
  /// which are returned.
  std::vector<index_t> logits(const packing& batch, const branch_parts& branches,
                              std::vector<double>& out) {
    const llama_config& c = model_.config();
    stack(batch);
    branches_ = &branches;
    rows_ = branches.count * batch.rows();
    x_.resize(static_cast<std::size_t>(rows_ * c.hidden));
    model_.tensor(model_.embedding()).weight.visit([&](const auto& w) {
      std::vector<float> row(static_cast<std::size_t>(c.hidden));
      for (index_t r = 0; r < rows_; ++r) {
        const token_t t = batch.tokens[static_cast<std::size_t>(r % batch.rows())];
        require(t >= 0 && t < c.vocabulary, "f64: token ", t, " is outside the vocabulary of ",
                c.vocabulary);
        decode_row(w, t, row.data());
        std::copy(row.begin(), row.end(), x_.begin() + r * c.hidden);
      }
    });
    for (index_t l = 0; l < c.layers; ++l) {
      layer(model_.layer(l), batch);
    }
    norm(model_.output_norm());
    std::vector<index_t> read;
    for (const token_read& r : batch.reads) {
      read.push_back(r.row);
    }
    std::sort(read.begin(), read.end());
    read.erase(std::unique(read.begin(), read.end()), read.end());
    std::vector<double> last;  // the rows that are read
    for (index_t b = 0; b < branches.count; ++b) {
      for (const index_t r : read) {
        const auto from = h_.begin() + (b * batch.rows() + r) * c.hidden;
        last.insert(last.end(), from, from + c.hidden);
      }
    }
    product(model_.tensor(model_.head()).weight, last,
            branches.count * static_cast<index_t>(read.size()), out);
    return read;
  }

 private:
  using memory = std::vector<double>;

  // Positions and segments of the rows of one branch.
  void stack(const packing& batch) {
    position_.assign(batch.tokens.size(), 0);
    segment_of_.assign(batch.tokens.size(), 0);
    for (std::size_t s = 0; s < batch.segments.size(); ++s) {
      const segment& at = batch.segments[s];
      for (index_t i = 0; i < at.count; ++i) {
        position_[static_cast<std::size_t>(at.first + i)] = at.position + i;
        segment_of_[static_cast<std::size_t>(at.first + i)] = static_cast<index_t>(s);
      }
    }
  }

  void layer(const llama::layer_numbers& n, const packing& batch) {
    const llama_config& c = model_.config();
    const index_t q_columns = c.heads * c.head_size, kv_columns = c.kv_heads * c.head_size;
    norm(n.attention_norm);
    linear(n.query, h_, q_);
    linear(n.key, h_, k_);
    linear(n.value, h_, v_);
    const auto turn = [&](memory& x, index_t columns) {
      exec_.for_each(rows_, f64::turn_row{x.data(), position_.data(), columns, c.head_size,
                                          batch.rows(), c.rope_base});
    };
    turn(q_, q_columns);
    turn(k_, kv_columns);
    mixed_.resize(q_.size());
    exec_.for_each(rows_ * c.heads,
                   f64::attention_head{q_.data(), k_.data(), v_.data(), &batch, segment_of_.data(),
                                       mixed_.data(), c.heads, c.kv_heads, c.head_size});
    linear(n.output, mixed_, h_);
    add();
    norm(n.feed_forward_norm);
    linear(n.gate, h_, gate_);
    linear(n.up, h_, up_);
    exec_.for_each(rows_ * c.feed_forward, f64::swiglu_element{gate_.data(), up_.data()});
    linear(n.down, gate_, h_);
    add();
  }

  void add() {
    exec_.for_each(static_cast<index_t>(x_.size()), f64::add_element{h_.data(), x_.data()});
  }

  void norm(index_t tensor) {
    const llama_config& c = model_.config();
    std::vector<float> gain(static_cast<std::size_t>(c.hidden));
    model_.tensor(tensor).weight.visit([&](const auto& w) { decode_row(w, 0, gain.data()); });
    const memory wide(gain.begin(), gain.end());
    h_.resize(x_.size());
    exec_.for_each(rows_, f64::norm_row{x_.data(), wide.data(), h_.data(), c.hidden,
                                        static_cast<double>(c.norm_epsilon)});
  }

  void product(const any_packed& weight, const memory& x, index_t rows, memory& y) {
    y.resize(static_cast<std::size_t>(rows * weight.rows()));
    weight.visit([&]<class S>(const packed_view<S>& w) {
      using panel = f64::product_panel<S>;
      exec_.for_each((w.shape[0] + panel::width - 1) / panel::width,
                     panel{w, x.data(), y.data(), rows});
    });
  }

  // y = x W^T + the view's values.
  void linear(index_t tensor, const memory& x, memory& y) {
    const any_packed& w = model_.tensor(tensor).weight;
    product(w, x, rows_, y);
    const parts added = branches_->on(tensor);
    if (added.sparse.has_value()) {
      require(added.sparse->values.shape[0] == branches_->count, "f64: tensor ", tensor,
              " has values for ", added.sparse->values.shape[0], " branches of ", branches_->count);
      exec_.for_each(rows_, f64::overlay_row{*added.sparse, x.data(), y.data(), w.columns(),
                                             w.rows(), rows_ / branches_->count});
    }
  }

  const X& exec_;
  const llama& model_;
  const branch_parts* branches_ = nullptr;        // of the call that runs
  index_t rows_ = 0;                              // branches * T
  std::vector<index_t> position_, segment_of_;    // [T]
  memory x_, h_, q_, k_, v_, mixed_, gate_, up_;  // [branches * T, columns]
};

}  // namespace zoq::bench
