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
  packed_on(const X& exec, const any_packed& w)
      : bytes_(exec, std::vector<std::byte>(w.bytes(), w.bytes() + w.byte_count())),
        view_(packed_as(w.format().gguf_type, bytes_.view(w.byte_count()).data, w.rows(),
                        w.columns(), "test")) {}
  [[nodiscard]] const any_packed& view() const { return view_; }

 private:
  on<X, std::byte> bytes_;
  any_packed view_;
};

}  // namespace zoq::test
