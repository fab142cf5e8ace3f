// What every host executor shares: memory, copies, and the fixed order in which sums are taken.
//
//     double s = zoq::detail::sum_in_chunks(n, f, [](index_t chunks, auto body) { ... });
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/tensor/buffer.hpp"

namespace zoq::detail {

inline constexpr index_t sum_chunk = 1024;  // terms added one after another

/// The sum of f(i) over [0, n): chunks of `sum_chunk` terms in order, then the chunks in order, so
/// that the bits depend on n alone. `run(chunks, body)` calls body(c) for every chunk, in any
/// order.
template <class F, class Run>
double sum_in_chunks(index_t n, const F& f, const Run& run) {
  const index_t chunks = (n + sum_chunk - 1) / sum_chunk;
  std::vector<double> partial(static_cast<std::size_t>(chunks));
  run(chunks, [&](index_t c) {
    double s = 0;
    const index_t end = std::min(n, (c + 1) * sum_chunk);
    for (index_t i = c * sum_chunk; i < end; ++i) {
      s += static_cast<double>(f(i));
    }
    partial[static_cast<std::size_t>(c)] = s;
  });
  double total = 0;
  for (const double s : partial) {
    total += s;
  }
  return total;
}

/// Memory and copies of an executor that works in host memory.
class host_memory {
 public:
  using space = host_space;

  template <class T>
  [[nodiscard]] buffer<T> allocate(index_t n) const {
    return buffer<T>(n);
  }
  template <class T>
  void upload(const T* host, index_t n, T* here) const {
    std::copy_n(host, n, here);
  }
  template <class T>
  void download(const T* here, index_t n, T* host) const {
    std::copy_n(here, n, host);
  }

  /// n floats for one operation: the next call takes them again. Grows, and stays.
  [[nodiscard]] float* scratch(index_t n) const {
    scratch_.reserve(n);
    return scratch_.data();
  }

 protected:
  [[nodiscard]] index_t scratch_bytes() const { return scratch_.byte_count(); }

 private:
  mutable buffer<float> scratch_;
};

}  // namespace zoq::detail
