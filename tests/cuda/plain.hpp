// executor plain: loops in the order of the formulas, sums in double. What serial is, for files that
// nvcc compiles, which never see Eigen.
//
//     const zoq::test::plain exec;
//     exec.linear(x, w, y);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/exec/loops.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::test {

struct plain : zoq::detail::host_memory {
  static constexpr std::string_view name = "plain";

  template <class F>
  void for_each(index_t n, const F& f) const {
    for (index_t i = 0; i < n; ++i) {
      f(i);
    }
  }
  template <class F>
  [[nodiscard]] double sum(index_t n, const F& f) const {
    return zoq::detail::sum_in_chunks(
        n, f, [&](index_t chunks, const auto& body) { for_each(chunks, body); });
  }

  static void linear(tensor_view<const float, 2> x, const any_packed& w, tensor_view<float, 2> y) {
    const std::vector<float> weight = decoded(w);
    product(y.shape[0], y.shape[1], x.shape[1], x.data, x.shape[1], 1, weight.data(), x.shape[1], 1,
            y.data);
  }
  static void linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                              tensor_view<float, 2> dx) {
    const std::vector<float> weight = decoded(w);
    product(dx.shape[0], dx.shape[1], dy.shape[1], dy.data, dy.shape[1], 1, weight.data(), 1,
            dx.shape[1], dx.data);
  }
  static void linear_to_weight(tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
                               tensor_view<float, 2> dw) {
    product(dw.shape[0], dw.shape[1], dy.shape[0], dy.data, 1, dy.shape[1], x.data, 1, x.shape[1],
            dw.data);
  }

 private:
  static std::vector<float> decoded(const any_packed& packed) {
    std::vector<float> out(static_cast<std::size_t>(packed.rows() * packed.columns()));
    packed.visit([&](const auto& w) {
      for (index_t o = 0; o < w.shape[0]; ++o) {
        decode_row(w, o, out.data() + o * w.shape[1]);
      }
    });
    return out;
  }

  // y[i, j] = sum_d a[i * a_row + d * a_depth] b[j * b_row + d * b_depth]
  static void product(index_t rows, index_t columns, index_t depth, const float* a, index_t a_row,
                      index_t a_depth, const float* b, index_t b_row, index_t b_depth, float* y) {
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < columns; ++j) {
        double s = 0;
        for (index_t d = 0; d < depth; ++d) {
          s += static_cast<double>(a[i * a_row + d * a_depth]) *
               static_cast<double>(b[j * b_row + d * b_depth]);
        }
        y[i * columns + j] = static_cast<float>(s);
      }
    }
  }
};
static_assert(executor<plain>);

}  // namespace zoq::test
