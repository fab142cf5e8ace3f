// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/reverse.hpp"

#include <doctest/doctest.h>

#include <cmath>
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

struct windows {
  static constexpr std::size_t count = 2, length = 5, heads = 4, shared = 2, size = 6;
  static constexpr std::size_t rows = count * length;

  static numbers attention(const numbers& q, const numbers& k, const numbers& v) {
    numbers out(rows * heads * size);
    for (std::size_t t = 0; t < rows; ++t) {
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t g = h / (heads / shared);
        numbers weight;
        double total = 0;
        const std::size_t first = t / length * length;
        for (std::size_t j = first; j <= t; ++j) {
          double score = 0;
          for (std::size_t d = 0; d < size; ++d) {
            score += q[(t * heads + h) * size + d] * k[(j * shared + g) * size + d];
          }
          weight.push_back(std::exp(score / std::sqrt(static_cast<double>(size))));
          total += weight.back();
        }
        for (std::size_t j = first; j <= t; ++j) {
          for (std::size_t d = 0; d < size; ++d) {
            out[(t * heads + h) * size + d] +=
                weight[j - first] / total * v[(j * shared + g) * size + d];
          }
        }
      }
    }
    return out;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("attention_reverse: central differences, shared heads and several windows", X,
                   ZOQ_TEST_EXECUTORS) {
  using w = windows;
  const auto rows = static_cast<index_t>(w::rows), heads = static_cast<index_t>(w::heads),
             shared = static_cast<index_t>(w::shared), size = static_cast<index_t>(w::size),
             length = static_cast<index_t>(w::length), count = static_cast<index_t>(w::count);
  const std::vector<float> q = uniform(rows * heads * size, 1, -2, 2),
                           k = uniform(rows * shared * size, 2, -2, 2),
                           v = uniform(rows * shared * size, 3),
                           d_out = uniform(rows * heads * size, 4);
  std::vector<float> dq(q.size(), 9.0f), dk(k.size(), 9.0f), dv(v.size(), 9.0f);
  std::vector<float> scratch(at(count * shared * 2 * length));
  zoq::attention_reverse(X{},
                         zoq::attention_reverse_head{{q.data(), {rows, heads, size}},
                                                     {k.data(), {rows, shared, size}},
                                                     {v.data(), {rows, shared, size}},
                                                     {d_out.data(), {rows, heads, size}},
                                                     {dq.data(), {rows, heads, size}},
                                                     {dk.data(), {rows, shared, size}},
                                                     {dv.data(), {rows, shared, size}},
                                                     {scratch.data(), {count * shared, 2, length}},
                                                     length});
  const numbers q64 = in_double(q), k64 = in_double(k), v64 = in_double(v);
  const numbers along = in_double(d_out);
  CHECK(relative_error(dq, central_differences(q64, [&](const numbers& x) {
                         return dot(along, w::attention(x, k64, v64));
                       })) <= tolerance);
  CHECK(relative_error(dk, central_differences(k64, [&](const numbers& x) {
                         return dot(along, w::attention(q64, x, v64));
                       })) <= tolerance);
  CHECK(relative_error(dv, central_differences(v64, [&](const numbers& x) {
                         return dot(along, w::attention(q64, k64, x));
                       })) <= tolerance);
}

TEST_CASE_TEMPLATE("cross_entropy_reverse: losses, and central differences towards the logits", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 4, columns = 40;
  constexpr float weight = 0.25f;
  const std::vector<float> logits = uniform(rows * columns, 1, -3, 3);
  const std::vector<zoq::token_t> target = {0, 39, -1, 7};  // the third row has no loss
  std::vector<double> normaliser(at(rows)), loss(at(rows), 9.0);
  std::vector<float> gradient = logits;
  zoq::log_normalisers(exec, matrix(logits, rows, columns), {normaliser.data(), {rows}});
  exec.for_each(rows, zoq::cross_entropy_reverse_row{matrix(gradient, rows, columns), target.data(),
                                                     weight, loss.data(), normaliser.data()});
  const auto loss_of = [&](const numbers& x, std::size_t r) {
    double sum = 0;
    for (std::size_t c = 0; c < columns; ++c) {
      sum += std::exp(x[r * columns + c]);
    }
    return target[r] < 0 ? 0.0
                         : std::log(sum) - x[r * columns + static_cast<std::size_t>(target[r])];
  };
  numbers wanted;
  for (std::size_t r = 0; r < rows; ++r) {
    wanted.push_back(loss_of(in_double(logits), r));
  }
  CHECK(largest_difference(loss, wanted) <= 1e-6);  // log_sum_exp's error
  CHECK(loss[2] == 0);
  CHECK(relative_error(gradient, central_differences(in_double(logits), [&](const numbers& x) {
                         double sum = 0;
                         for (std::size_t r = 0; r < rows; ++r) {
                           sum += static_cast<double>(weight) * loss_of(x, r);
                         }
                         return sum;
                       })) <= tolerance);
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
  all.q = {x.data(), {5, 1, 2}};
  all.k = {x.data(), {5, 1, 2}};
  all.scratch = {y.data(), {2, 2, 2}};
  all.length = 2;
  CHECK(message_of([&] { zoq::attention_reverse(exec, all); }) ==
        "attention_reverse: 5 rows are not whole windows of 2");
}
