// Whether all weights of a model are numbers. A NaN or an infinity in one of them spoils losses, and then
// every value that is tuned by them; better said once, with the tensor's name.
//
//     zoq::require_finite(exec, model.tensors());
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// The first column of a row whose weight is NaN or infinite, or -1.
template <quant_scheme S>
struct first_not_finite {
  packed_view<S> w;  // [O, C]
  index_t* column;   // [O]

  ZOQ_HD void operator()(index_t o) const {
    const typename S::row row = w.row(o);
    column[o] = -1;
    float y[S::block_size];
    for (index_t b = 0; b < w.blocks_per_row(); ++b) {
      S::decode(row, w.block(o, b), y);
      for (index_t i = 0; i < S::block_size; ++i) {
        if (!std::isfinite(y[i])) {
          column[o] = b * S::block_size + i;
          return;
        }
      }
    }
  }
};

/// Throws, naming tensor, row, column and what is there, on a weight that is NaN or infinite. Decodes
/// every weight once, by the threads of `exec`; by one thread where it is a device. Memory: 8 bytes for each row
/// of the tallest matrix.
template <executor X>
void require_finite(const X& exec, std::span<const model_tensor> tensors) {
  std::vector<index_t> column;
  for (const model_tensor& t : tensors) {
    column.assign(static_cast<std::size_t>(t.weight.rows()), -1);
    t.weight.visit([&]<quant_scheme S>(const packed_view<S>& w) {
      const first_not_finite<S> look{w, column.data()};
      if constexpr (on_host<typename X::space>) {
        exec.for_each(w.shape[0], look);
      } else {
        for (index_t o = 0; o < w.shape[0]; ++o) {
          look(o);
        }
      }
      for (index_t o = 0; o < w.shape[0]; ++o) {
        const index_t c = column[static_cast<std::size_t>(o)];
        if (c >= 0) {
          std::vector<float> y(static_cast<std::size_t>(w.shape[1]));
          decode_row(w, o, y.data());
          fail(t.name, ": the weight at row ", o, ", column ", c, " is ",
               y[static_cast<std::size_t>(c)]);
        }
      }
    });
  }
}

/// The same; messages begin with the model's `path`.
template <executor X>
void require_finite(const X& exec, std::span<const model_tensor> tensors, const std::string& path) {
  try {
    require_finite(exec, tensors);
  } catch (const error& e) {
    fail(path, ": ", e.what());
  }
}

}  // namespace zoq
