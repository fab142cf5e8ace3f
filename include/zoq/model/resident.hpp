// The weights of a model where an executor can read them: for the host the model's own, in the mapped
// file; for a device a copy in its memory, packed as they are, made once.
//
//     zoq::resident_weights<X> weights(exec, model.tensors());
//     zoq::linear(exec, x, weights[n.query], {}, {}, q);
//     zoq::llama_forward pass(exec, model, weights);       // shares them
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// Copies share the memory. The model must outlive them: on the host they are its tensors.
template <executor X>
class resident_weights {
 public:
  /// False on the host, which uses the model's own.
  static constexpr bool copied = !on_host<typename X::space>;

  /// Throws std::bad_alloc, or what the executor throws, when its memory is too small. A device gets
  /// every byte of `tensors` once.
  resident_weights(const X& exec, std::span<const model_tensor> tensors);

  /// The tensor of this number, for the executor's loops.
  [[nodiscard]] const any_packed& operator[](index_t number) const {
    return all_->weights[static_cast<std::size_t>(number)];
  }
  /// Bytes of the copies; 0 where there are none.
  [[nodiscard]] index_t byte_count() const;

 private:
  struct contents {
    std::vector<any_packed> weights;                           // by tensor number
    std::vector<buffer<std::byte, typename X::space>> memory;  // that they view

    // The blocks of w, and behind them what its rows own, from the host to one buffer.
    template <quant_scheme S>
    void keep(const X& exec, packed_view<S>& w) {
      using row = typename S::row;
      constexpr auto unit = static_cast<index_t>(alignof(row));
      const index_t blocks =
          packed_view<S>{w.blocks, nullptr, {w.shape[0], w.shape[1]}}.byte_count();
      const index_t rows = w.byte_count() - blocks;
      const index_t before_rows = rows == 0 ? blocks : (blocks + unit - 1) / unit * unit;
      memory.push_back(exec.template allocate<std::byte>(before_rows + rows));
      std::byte* here = memory.back().data();
      exec.upload(reinterpret_cast<const std::byte*>(w.blocks), blocks, here);
      w.blocks = reinterpret_cast<const typename S::block*>(here);
      if (rows != 0) {
        exec.upload(reinterpret_cast<const std::byte*>(w.row_data), rows, here + before_rows);
        w.row_data = reinterpret_cast<const row*>(here + before_rows);
      }
    }
  };
  std::shared_ptr<const contents> all_;
};

template <executor X>
resident_weights<X>::resident_weights(const X& exec, std::span<const model_tensor> tensors) {
  auto all = std::make_shared<contents>();
  for (const model_tensor& t : tensors) {
    if constexpr (copied) {
      t.weight.visit([&]<class S>(packed_view<S> w) {
        all->keep(exec, w);
        all->weights.push_back({w});
      });
    } else {
      all->weights.push_back(t.weight);
    }
  }
  all_ = std::move(all);
}

template <executor X>
index_t resident_weights<X>::byte_count() const {
  index_t bytes = 0;
  for (const auto& b : all_->memory) {
    bytes += b.byte_count();
  }
  return bytes;
}

}  // namespace zoq
