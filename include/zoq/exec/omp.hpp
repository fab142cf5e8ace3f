// executor omp: the executor template of devices on the threads of a CPU, without a device's compiler.
// It is how that template is tested wherever there is no device; `cpu` is the executor that is fast.
//
//     zoq::omp exec;                                   // compile with -fopenmp; target zoq::omp
//     zoq::omp exec{{.products = zoq::compute::bf16}};
//
// Products go in float over the depth in order: an element errs by at most about C * 2^-24 times
// sum |x w|; bf16 adds 2^-7 times that. Every output has an order of its own: any number of threads
// gives the same bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/system/omp/execution_policy.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/matrix_product.hpp"
#include "zoq/exec/thrust_executor.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

namespace detail {
/// A tile of a product: a few rows and outputs, the depth in order.
template <class T>
struct multiply_tile {
  static constexpr index_t rows = 8, outputs = 8;

  matrix_product<T> of;

  [[nodiscard]] ZOQ_HD index_t across() const { return (of.outputs + outputs - 1) / outputs; }
  [[nodiscard]] ZOQ_HD index_t items() const { return (of.rows + rows - 1) / rows * across(); }
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / across() * rows, output = i % across() * outputs;
    const index_t m = of.rows - row < rows ? of.rows - row : rows;
    const index_t n = of.outputs - output < outputs ? of.outputs - output : outputs;
    float sum[static_cast<std::size_t>(rows * outputs)] = {};
    for (index_t k = 0; k < of.depth; ++k) {
      float b[static_cast<std::size_t>(outputs)] = {};
      for (index_t c = 0; c < n; ++c) {
        b[c] = to_float(of.b.at(output + c, k));
      }
      for (index_t r = 0; r < m; ++r) {
        const float a = to_float(of.a.at(row + r, k));
        for (index_t c = 0; c < outputs; ++c) {
          sum[r * outputs + c] += a * b[c];
        }
      }
    }
    for (index_t r = 0; r < m; ++r) {
      for (index_t c = 0; c < n; ++c) {
        of.y[(row + r) * of.y_row + output + c] = sum[r * outputs + c];
      }
    }
  }
};
}  // namespace detail

/// What an omp executor is made with. It throws on i8.
struct omp_options {
  compute products = compute::f32;          // of linear layers, forward; f32 or bf16
  index_t slice_bytes = index_t{16} << 20;  // of weights that are decoded at a time
};

/// The back-end of exec/thrust_executor.hpp on the threads of OpenMP.
struct omp_back {
  static constexpr std::string_view name = "omp";
  using space = host_space;
  using options = omp_options;  // as thrust_executor asks

  explicit omp_back(const options&) {}  // never throws

  [[nodiscard]] static auto policy() { return thrust::omp::par; }  // all of OpenMP's threads
  /// A copy within host memory.
  static void upload(const void* host, index_t bytes, void* here) {
    std::memcpy(here, host, static_cast<std::size_t>(bytes));
  }
  /// A copy within host memory.
  static void download(const void* here, index_t bytes, void* host) {
    std::memcpy(host, here, static_cast<std::size_t>(bytes));
  }
  /// Tiles of 8 x 8 over the threads, the depth in order.
  template <class T>
  static void multiply(const matrix_product<T>& product) {
    const detail::multiply_tile<T> tile{product};
    thrust::for_each_n(policy(), thrust::counting_iterator<index_t>(0), tile.items(), tile);
  }
};

using omp = thrust_executor<omp_back>;  // the executor
static_assert(executor<omp>);

}  // namespace zoq
