// Numbers of a test in an executor's memory, wherever that is.
//
//     zoq::test::on<X, float> x(exec, values);
//     zoq::rms_norm(exec, x.view(rows, columns), ...);
//     std::vector<float> got = x.values();
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "ops/samples.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/sparse/sparse_part.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq::test {

template <class X, class T>
class on {
 public:
  on(const X& exec, const std::vector<T>& values)
      : exec_(exec), memory_(exec.template allocate<T>(static_cast<index_t>(values.size()))) {
    exec.upload(values.data(), memory_.size(), memory_.data());
  }
  template <class... Extent>
  [[nodiscard]] auto view(Extent... extent) const {
    return memory_.view(extent...);
  }
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> out(static_cast<std::size_t>(memory_.size()));
    exec_.download(memory_.data(), memory_.size(), out.data());
    return out;
  }

 private:
  const X& exec_;
  buffer<T, typename X::space> memory_;
};

/// n numbers that no result may keep.
inline std::vector<float> unset(index_t n) { return std::vector<float>(at(n), -12345.0f); }

/// A packed matrix in an executor's memory.
template <class X>
class packed_on {
 public:
  packed_on(const X& exec, const any_packed& w) : bytes_(exec, together(w)), view_(w) {
    const std::byte* here = bytes_.view(w.byte_count()).data;
    const format_info format = w.format();
    view_ = packed_as(format.name, here,
                      format.row_bytes == 0 ? nullptr : here + format.bytes(w.rows(), w.columns()),
                      w.rows(), w.columns(), "test");
  }
  [[nodiscard]] const any_packed& view() const { return view_; }

 private:
  // Blocks, and behind them what the rows own: of these formats a multiple of 4 bytes.
  static std::vector<std::byte> together(const any_packed& packed) {
    return packed.visit([]<class S>(const packed_view<S>& w) {
      const auto* blocks = reinterpret_cast<const std::byte*>(w.blocks);
      const auto* rows = reinterpret_cast<const std::byte*>(w.row_data);
      const index_t own = rows == nullptr ? 0 : w.shape[0] * row_bytes_of<S>;
      std::vector<std::byte> out(blocks, blocks + (w.byte_count() - own));
      out.insert(out.end(), rows, rows + own);
      return out;
    });
  }

  on<X, std::byte> bytes_;
  any_packed view_;
};

}  // namespace zoq::test
