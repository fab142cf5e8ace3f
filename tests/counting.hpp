// An executor that knows how much memory it has lent: for tests that count bytes.
//
//     const zoq::index_t before = zoq::test::counted_space::live;
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "zoq/exec/serial.hpp"
#include "zoq/tensor/buffer.hpp"

namespace zoq::test {

struct counted_space {
  static inline index_t live = 0;  // bytes lent and not given back
  static inline std::map<void*, std::size_t> sizes{};

  static void* allocate(std::size_t bytes) {
    void* p = host_space::allocate(bytes);
    sizes[p] = bytes;
    live += static_cast<index_t>(bytes);
    return p;
  }
  static void release(void* p) noexcept {
    const auto found = sizes.find(p);
    live -= static_cast<index_t>(found->second);
    sizes.erase(found);
    host_space::release(p);
  }
};

struct counting : serial {
  static constexpr std::string_view name = "counting";
  using space = counted_space;
  template <class T>
  [[nodiscard]] buffer<T, counted_space> allocate(index_t n) const {
    return buffer<T, counted_space>(n);
  }
};
static_assert(executor<counting>);

}  // namespace zoq::test
