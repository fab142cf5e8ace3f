// executor serial: one thread, plain loops, products and sums in double. The oracle that every fast
// path is tested against; not meant for speed.
//
//     zoq::serial exec;
//     exec.linear(x, w, y);   // y[r, o] = sum_c x[r, c] w[o, c]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/exec/loops.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

class serial : public detail::host_memory {
 public:
  static constexpr std::string_view name = "serial";

  /// f(i) for every i in [0, n), in order.
  template <class F>
  void for_each(index_t n, const F& f) const {
    for (index_t i = 0; i < n; ++i) {
      f(i);
    }
  }

  /// The sum of f(i) over [0, n), in the order of exec/loops.hpp.
  template <class F>
  [[nodiscard]] double sum(index_t n, const F& f) const {
    return detail::sum_in_chunks(n, f,
                                 [&](index_t chunks, const auto& body) { for_each(chunks, body); });
  }

  /// y = x W^T. x: [R, C], w: [O, C], y: [R, O]. Each product and sum in double, rounded once.
  static void linear(tensor_view<const float, 2> x, const any_packed& w, tensor_view<float, 2> y);

  /// The same of floats. x: [R, C], w: [O, C], y: [R, O].
  static void float_linear(tensor_view<const float, 2> x, tensor_view<const float, 2> w,
                           tensor_view<float, 2> y);

  /// dx = dy W, the reverse of `linear` towards its input. dy: [R, O], w: [O, C], dx: [R, C].
  static void linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                              tensor_view<float, 2> dx);

  /// dw = dy^T x, the reverse of `linear` towards its weight. dy: [R, O], x: [R, C], dw: [O, C].
  static void linear_to_weight(tensor_view<const float, 2> dy, tensor_view<const float, 2> x,
                               tensor_view<float, 2> dw);
};
static_assert(executor<serial>);

}  // namespace zoq

#if ZOQ_BODIES

#include <Eigen/Core>

namespace zoq {

namespace detail {

using serial_matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline auto serial_row(tensor_view<const float, 2> x, index_t r) {
  return Eigen::Map<const Eigen::RowVectorXf>(x.row(r).data, x.shape[1]).cast<double>();
}

ZOQ_BODY serial_matrix unpack(const any_packed& packed) {
  return packed.visit([](const auto& w) {
    Eigen::RowVectorXf values(w.shape[1]);
    serial_matrix out(w.shape[0], w.shape[1]);
    for (index_t o = 0; o < w.shape[0]; ++o) {
      decode_row(w, o, values.data());
      out.row(o) = values.cast<double>();
    }
    return out;
  });
}

}  // namespace detail

ZOQ_BODY void serial::linear(tensor_view<const float, 2> x, const any_packed& w,
                             tensor_view<float, 2> y) {
  const detail::serial_matrix weight = detail::unpack(w);  // [O, C]
  for (index_t r = 0; r < x.shape[0]; ++r) {
    for (index_t o = 0; o < weight.rows(); ++o) {
      y(r, o) = static_cast<float>(detail::serial_row(x, r).dot(weight.row(o)));
    }
  }
}

ZOQ_BODY void serial::float_linear(tensor_view<const float, 2> x, tensor_view<const float, 2> w,
                                   tensor_view<float, 2> y) {
  linear(x, any_packed{float_matrix(w.data, w.shape[0], w.shape[1])}, y);
}

ZOQ_BODY void serial::linear_to_input(tensor_view<const float, 2> dy, const any_packed& w,
                                      tensor_view<float, 2> dx) {
  const detail::serial_matrix weight = detail::unpack(w);  // [O, C]
  for (index_t r = 0; r < dy.shape[0]; ++r) {
    for (index_t c = 0; c < weight.cols(); ++c) {
      dx(r, c) = static_cast<float>(detail::serial_row(dy, r).dot(weight.col(c)));
    }
  }
}

ZOQ_BODY void serial::linear_to_weight(tensor_view<const float, 2> dy,
                                       tensor_view<const float, 2> x, tensor_view<float, 2> dw) {
  for (index_t o = 0; o < dw.shape[0]; ++o) {
    for (index_t c = 0; c < dw.shape[1]; ++c) {
      double s = 0;
      for (index_t r = 0; r < x.shape[0]; ++r) {
        s += static_cast<double>(dy(r, o)) * static_cast<double>(x(r, c));
      }
      dw(o, c) = static_cast<float>(s);
    }
  }
}

}  // namespace zoq

#endif
