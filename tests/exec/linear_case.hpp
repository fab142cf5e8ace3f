// The three products of a linear layer on one executor, with outputs that show what was written.
//
//     linear_case<zoq::q4_1> test(rows, outputs, columns, seed);
//     std::vector<float> y = test.forward(exec);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "quant/random_blocks.hpp"
#include "random_values.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::test {

template <quant_scheme S>
struct linear_case {
  index_t rows, outputs, columns;
  packed_matrix<S> w;        // [O, C]
  std::vector<float> x, dy;  // [R, C], [R, O]

  linear_case(index_t r, index_t o, index_t c, seed_t seed)
      : rows(r),
        outputs(o),
        columns(c),
        w(o, c, seed),
        x(uniform(r * c, seed + 1)),
        dy(uniform(r * o, seed + 2)) {}

  // Outputs hold NaN before, which a product must not take up, and one guard behind, which it must
  // not touch.
  static std::vector<float> output(index_t n) {
    std::vector<float> y(static_cast<std::size_t>(n) + 1, std::numeric_limits<float>::quiet_NaN());
    y.back() = -12345;
    return y;
  }
  static std::vector<float> guarded(std::vector<float> y) {
    if (y.back() != -12345) {
      return {};  // equal to no result
    }
    y.pop_back();
    return y;
  }

  /// y = x W^T for `count` rows from `first` on.
  template <class X>
  std::vector<float> forward(const X& exec, index_t first, index_t count) const {
    std::vector<float> y = output(count * outputs);
    exec.linear({x.data() + first * columns, {count, columns}}, w.any(),
                {y.data(), {count, outputs}});
    return guarded(y);
  }
  template <class X>
  std::vector<float> forward(const X& exec) const {
    return forward(exec, 0, rows);
  }
  /// dx = dy W for `count` rows from `first` on.
  template <class X>
  std::vector<float> to_input(const X& exec, index_t first, index_t count) const {
    std::vector<float> dx = output(count * columns);
    exec.linear_to_input({dy.data() + first * outputs, {count, outputs}}, w.any(),
                         {dx.data(), {count, columns}});
    return guarded(dx);
  }
  template <class X>
  std::vector<float> to_input(const X& exec) const {
    return to_input(exec, 0, rows);
  }
  /// dw = dy^T x.
  template <class X>
  std::vector<float> to_weight(const X& exec) const {
    std::vector<float> dw = output(outputs * columns);
    exec.linear_to_weight({dy.data(), {rows, outputs}}, {x.data(), {rows, columns}},
                          {dw.data(), {outputs, columns}});
    return guarded(dw);
  }
};

/// sum_k |a[i, k] b[k, j]|, in double: what the rounding of a product is measured by. a: [I, K] and
/// b: [K, J] are given as functions.
template <class A, class B>
std::vector<double> magnitudes(index_t i_count, index_t k_count, index_t j_count, A&& a, B&& b) {
  std::vector<double> out;
  for (index_t i = 0; i < i_count; ++i) {
    for (index_t j = 0; j < j_count; ++j) {
      double sum = 0;
      for (index_t k = 0; k < k_count; ++k) {
        sum += std::fabs(static_cast<double>(a(i, k)) * static_cast<double>(b(k, j)));
      }
      out.push_back(sum);
    }
  }
  return out;
}

/// True when |found - wanted| <= bound * size for every element.
inline bool within(const std::vector<float>& found, const std::vector<float>& wanted,
                   const std::vector<double>& size, double bound) {
  if (found.size() != wanted.size() || found.size() != size.size()) {
    return false;
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double error = static_cast<double>(found[i]) - static_cast<double>(wanted[i]);
    if (!(std::fabs(error) <= bound * size[i])) {
      return false;
    }
  }
  return true;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && !a.empty() &&
         same_bits(a.data(), b.data(), static_cast<index_t>(a.size()));
}

}  // namespace zoq::test
