// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/reverse.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/ops/loss.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

using numbers = std::vector<double>;

numbers in_double(const std::vector<float>& x) { return {x.begin(), x.end()}; }

/// (f(x + h e_i) - f(x - h e_i)) / 2h for every i. In double with h = 1e-5 both errors, h^2 f'''
/// and the rounding 1e-16 / h, stay below 1e-9.
template <class F>
numbers central_differences(numbers x, const F& f) {
  constexpr double h = 1e-5;
  numbers out;
  for (double& value : x) {
    const double middle = value;
    value = middle + h;
    const double above = f(x);
    value = middle - h;
    out.push_back((above - f(x)) / (2 * h));
    value = middle;
  }
  return out;
}

double dot(const numbers& a, const numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

// The reverse passes are float: a few roundings of 2^-24, 2^-22 of exp_f32, sums of tens of terms.
constexpr double tolerance = 5e-6;

}  // namespace

TEST_CASE_TEMPLATE("rms_norm_reverse: central differences, added to what is there", X,
                   ZOQ_TEST_EXECUTORS) {
  constexpr index_t rows = 3, columns = 37;
  constexpr float epsilon = 0.01f;
  const std::vector<float> x = uniform(rows * columns, 1), gain = uniform(columns, 2),
                           dy = uniform(rows * columns, 3), before = uniform(rows * columns, 4);
  std::vector<float> dx = before;
  zoq::rms_norm_reverse(X{}, matrix(x, rows, columns), {gain.data(), {columns}}, epsilon,
                        matrix(dy, rows, columns), matrix(dx, rows, columns));
  numbers wanted = central_differences(in_double(x), [&](const numbers& at_x) {
    double sum = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (std::size_t c = 0; c < columns; ++c) {
        squares += at_x[r * columns + c] * at_x[r * columns + c];
      }
      const double scale = 1 / std::sqrt(squares / columns + static_cast<double>(epsilon));
      for (std::size_t c = 0; c < columns; ++c) {
        sum += static_cast<double>(dy[r * columns + c]) * at_x[r * columns + c] * scale *
               static_cast<double>(gain[c]);
      }
    }
    return sum;
  });
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    wanted[i] += static_cast<double>(before[i]);
  }
  CHECK(relative_error(dx, wanted) <= tolerance);
}

TEST_CASE_TEMPLATE("swiglu_reverse: central differences", X, ZOQ_TEST_EXECUTORS) {
  constexpr index_t rows = 4, columns = 21, n = rows * columns;
  const std::vector<float> gate = uniform(n, 1, -6, 6), up = uniform(n, 2), dy = uniform(n, 3);
  std::vector<float> dgate(at(n), 9.0f), dup(at(n), 9.0f);
  zoq::swiglu_reverse(X{}, matrix(gate, rows, columns), matrix(up, rows, columns),
                      matrix(dy, rows, columns), matrix(dgate, rows, columns),
                      matrix(dup, rows, columns));
  const auto along = [&](const numbers& g, const numbers& u) {
    double sum = 0;
    for (std::size_t i = 0; i < g.size(); ++i) {
      sum += static_cast<double>(dy[i]) * g[i] / (1 + std::exp(-g[i])) * u[i];
    }
    return sum;
  };
  CHECK(relative_error(dgate, central_differences(in_double(gate), [&](const numbers& g) {
                         return along(g, in_double(up));
                       })) <= tolerance);
  CHECK(relative_error(dup, central_differences(in_double(up), [&](const numbers& u) {
                         return along(in_double(gate), u);
                       })) <= tolerance);
}

namespace {

// Two texts: a prompt with two options, one of which goes on in a third segment; and a window.
struct texts {
  static constexpr std::size_t heads = 4, shared = 2, size = 6, rows = 12;
  std::vector<zoq::segment> segments = {
      {0, 4, -1, 0}, {4, 2, 0, 4}, {6, 1, 0, 4}, {7, 2, 1, 6}, {9, 3, -1, 0}};
  std::vector<std::int32_t> segment_of = {0, 0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 4};
  std::vector<std::int32_t> first = {0, 4, 5};

  [[nodiscard]] std::vector<std::size_t> seen(std::size_t t) const {
    std::vector<std::size_t> out;
    auto end = static_cast<index_t>(t) + 1;
    for (index_t s = segment_of[t]; s >= 0; s = segments[at(s)].parent) {
      const zoq::segment& here = segments[at(s)];
      for (index_t j = here.first; j < std::min(end, here.first + here.count); ++j) {
        out.push_back(at(j));
      }
      end = static_cast<index_t>(rows);
    }
    return out;
  }

  [[nodiscard]] numbers attention(const numbers& q, const numbers& k, const numbers& v) const {
    numbers out(rows * heads * size);
    for (std::size_t t = 0; t < rows; ++t) {
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t g = h / (heads / shared);
        numbers weight;
        double total = 0;
        for (const std::size_t j : seen(t)) {
          double score = 0;
          for (std::size_t d = 0; d < size; ++d) {
            score += q[(t * heads + h) * size + d] * k[(j * shared + g) * size + d];
          }
          weight.push_back(std::exp(score / std::sqrt(static_cast<double>(size))));
          total += weight.back();
        }
        std::size_t n = 0;
        for (const std::size_t j : seen(t)) {
          const double share = weight[n++] / total;
          for (std::size_t d = 0; d < size; ++d) {
            out[(t * heads + h) * size + d] += share * v[(j * shared + g) * size + d];
          }
        }
      }
    }
    return out;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("attention_reverse: central differences, shared heads, options and windows", X,
                   ZOQ_TEST_EXECUTORS) {
  const texts w;
  const auto rows = static_cast<index_t>(w.rows), heads = static_cast<index_t>(w.heads),
             shared = static_cast<index_t>(w.shared), size = static_cast<index_t>(w.size);
  constexpr index_t count = 2, positions = 8;
  const std::vector<float> q = uniform(rows * heads * size, 1, -2, 2),
                           k = uniform(rows * shared * size, 2, -2, 2),
                           v = uniform(rows * shared * size, 3),
                           d_out = uniform(rows * heads * size, 4);
  std::vector<float> dq(q.size(), 9.0f), dk(k.size(), 9.0f), dv(v.size(), 9.0f);
  std::vector<float> scratch(at(count * shared * 2 * positions));
  zoq::attention_reverse(
      X{}, zoq::attention_reverse_head{{q.data(), {rows, heads, size}},
                                       {k.data(), {rows, shared, size}},
                                       {v.data(), {rows, shared, size}},
                                       {d_out.data(), {rows, heads, size}},
                                       {dq.data(), {rows, heads, size}},
                                       {dk.data(), {rows, shared, size}},
                                       {dv.data(), {rows, shared, size}},
                                       {scratch.data(), {count * shared, 2, positions}},
                                       {{w.segments.data(), {5}}, {w.segment_of.data(), {rows}}},
                                       {w.first.data(), {count + 1}}});
  const numbers q64 = in_double(q), k64 = in_double(k), v64 = in_double(v);
  const numbers along = in_double(d_out);
  CHECK(relative_error(dq, central_differences(q64, [&](const numbers& x) {
                         return dot(along, w.attention(x, k64, v64));
                       })) <= tolerance);
  CHECK(relative_error(dk, central_differences(k64, [&](const numbers& x) {
                         return dot(along, w.attention(q64, x, v64));
                       })) <= tolerance);
  CHECK(relative_error(dv, central_differences(v64, [&](const numbers& x) {
                         return dot(along, w.attention(q64, k64, x));
                       })) <= tolerance);
}

TEST_CASE_TEMPLATE("likelihood_reverse: central differences towards the logits", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 4, columns = 40;
  const std::vector<float> logits = uniform(rows * columns, 1, -3, 3);
  const std::vector<std::int32_t> first = {0, 1, 4, 4, 5};  // of the third row nothing is read
  const std::vector<zoq::token_t> target = {0, 39, 5, 39, 7};
  const std::vector<float> weight = {-0.25f, -0.5f, 0.75f, 0.125f, 1.0f};
  std::vector<double> normaliser(at(rows));
  std::vector<float> gradient = logits;
  zoq::log_normalisers(exec, matrix(logits, rows, columns), {normaliser.data(), {rows}});
  exec.for_each(rows,
                zoq::likelihood_reverse_row{matrix(gradient, rows, columns), normaliser.data(),
                                            first.data(), target.data(), weight.data()});
  CHECK(relative_error(gradient, central_differences(in_double(logits), [&](const numbers& x) {
                         double all = 0;
                         for (std::size_t r = 0; r < at(rows); ++r) {
                           double sum = 0;
                           for (std::size_t c = 0; c < at(columns); ++c) {
                             sum += std::exp(x[r * at(columns) + c]);
                           }
                           for (auto j = at(first[r]); j < at(first[r + 1]); ++j) {
                             all += static_cast<double>(weight[j]) *
                                    (x[r * at(columns) + at(target[j])] - std::log(sum));
                           }
                         }
                         return all;
                       })) <= tolerance);
  CHECK(std::all_of(gradient.begin() + 2 * columns, gradient.begin() + 3 * columns,
                    [](float g) { return g == 0; }));
}

TEST_CASE_TEMPLATE("overlay_reverse and scatter_row: each adds or moves what it says", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const std::vector<std::int32_t> row = {0, 0, 2}, column = {1, 3, 1};
  const std::vector<float> value = {9, 2, 3, 5};  // of a view with another value before these
  const std::vector<float> dy = {1, 10, 100, 2, 20, 200};  // [2, 3]
  std::vector<float> dx(8, 1.0f);                          // [2, 4]
  exec.for_each(2, zoq::overlay_reverse_row{
                       {{row.data(), {3}}, {column.data(), {3}}, {value.data(), {1, 4}}, 1},
                       matrix(dy, 2, 3),
                       matrix(dx, 2, 4)});
  CHECK(dx == std::vector<float>{1, 503, 1, 4, 1, 1005, 1, 7});
  const std::vector<std::int32_t> to = {2, 0};
  std::vector<float> rows(9);
  exec.for_each(2, zoq::scatter_row{matrix(dy, 2, 3), to.data(), matrix(rows, 3, 3)});
  CHECK(rows == std::vector<float>{2, 20, 200, 0, 0, 0, 1, 10, 100});
}

TEST_CASE("reverse: wrong shapes are refused") {
  const zoq::serial exec;
  std::vector<float> x(24), y(24);
  CHECK(message_of([&] {
          zoq::rms_norm_reverse(exec, matrix(x, 2, 3), {x.data(), {4}}, 1e-5f, matrix(x, 2, 3),
                                matrix(y, 2, 3));
        }) == "rms_norm_reverse: shapes disagree");
  CHECK(message_of([&] {
          zoq::swiglu_reverse(exec, matrix(x, 2, 3), matrix(x, 2, 3), matrix(x, 2, 2),
                              matrix(y, 2, 3), matrix(y, 2, 3));
        }) == "swiglu_reverse: shapes disagree");
  zoq::attention_reverse_head all{};
  const std::vector<std::int32_t> first = {0, 1, 2};
  all.q = {x.data(), {5, 1, 2}};
  all.k = {x.data(), {5, 1, 2}};
  all.scratch = {y.data(), {1, 2, 2}};
  all.layout.segment_of = {nullptr, {5}};
  all.first_seg = {first.data(), {3}};
  CHECK(message_of([&] { zoq::attention_reverse(exec, all); }) ==
        "attention_reverse: 5 queries, 5 keys and scratch for 1 heads are not the rows and heads "
        "of 2 texts");
}
