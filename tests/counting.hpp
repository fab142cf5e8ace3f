// An executor that knows how much memory it has lent: for tests that count bytes.
//
//     const zoq::index_t before = zoq::test::counted_space::live;
//     zoq::test::counted_space::watch();      // peak and largest count from here
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>

#include "zoq/exec/serial.hpp"
#include "zoq/tensor/buffer.hpp"

namespace zoq::test {

struct counted_space {
  static constexpr bool on_host = true;
  static inline index_t live = 0;     // bytes lent and not given back
  static inline index_t peak = 0;     // the most at a time since watch()
  static inline index_t largest = 0;  // the most at once since then
  static inline std::map<void*, std::size_t> sizes{};

  static void watch() {
    peak = live;
    largest = 0;
  }
  static void* allocate(std::size_t bytes) {
    void* p = host_space::allocate(bytes);
    sizes[p] = bytes;
    live += static_cast<index_t>(bytes);
    peak = std::max(peak, live);
    largest = std::max(largest, static_cast<index_t>(bytes));
    return p;
  }
  static void release(void* p) noexcept {
    const auto found = sizes.find(p);
    live -= static_cast<index_t>(found->second);
    sizes.erase(found);
    host_space::release(p);
  }
};

/// `Base`, an executor in host memory, with its memory counted.
template <class Base>
struct counting_on : Base {
  static constexpr std::string_view name = "counting";
  using Base::Base;
  using space = counted_space;
  template <class T>
  [[nodiscard]] buffer<T, counted_space> allocate(index_t n) const {
    return buffer<T, counted_space>(n);
  }
};
using counting = counting_on<serial>;
static_assert(executor<counting>);

}  // namespace zoq::test
