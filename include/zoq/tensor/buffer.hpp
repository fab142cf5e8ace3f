// Owning memory: 64-byte aligned, zeroed, move-only, in the space of the executor that made it.
//
//     buffer<float> x(1024);                // host memory
//     float* p = x.data();
//
// A space is a type with two static functions, so memory on another device is one small struct:
//
//     struct host_space { static void* allocate(std::size_t bytes); static void release(void*); };
//
// A space whose executors also read any other memory of the host says `static constexpr bool on_host =
// true`: then what lies there already is not copied.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

inline constexpr index_t alignment = 64;  // bytes: a cache line, and the widest SIMD register

/// The memory of the host.
struct host_space {
  static constexpr bool on_host = true;  // loops may read all of it

  /// Zeroed memory of `bytes`, a multiple of `alignment`. Throws std::bad_alloc.
  static void* allocate(std::size_t bytes) {
    void* p = std::aligned_alloc(static_cast<std::size_t>(alignment), bytes);
    if (p == nullptr) {
      throw std::bad_alloc();
    }
    return std::memset(p, 0, bytes);
  }
  static void release(void* p) noexcept { std::free(p); }  // what `allocate` gave, or null
};

/// Whether loops over this space may read all of the host's memory.
template <class Space>
inline constexpr bool on_host = requires {
  requires Space::on_host;
};

template <class T, class Space = host_space>
class buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using space = Space;

  buffer() = default;

  /// `n` zeroed elements. Throws `error` on a negative or overflowing `n`, std::bad_alloc when the
  /// space is exhausted.
  explicit buffer(index_t n) : size_(n) {
    require(n >= 0 && n <= (index_t{1} << 48) / static_cast<index_t>(sizeof(T)),
            "buffer: cannot hold ", n, " elements of ", sizeof(T), " bytes");
    if (n != 0) {
      data_.reset(static_cast<T*>(Space::allocate(static_cast<std::size_t>(byte_count()))));
    }
  }

  /// Leaves the other empty.
  buffer(buffer&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  /// Gives back what it had, and leaves the other empty.
  buffer& operator=(buffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  [[nodiscard]] T* data() const { return data_.get(); }  // null when empty
  [[nodiscard]] index_t size() const { return size_; }   // elements

  /// Bytes taken from the space: the elements, rounded up to `alignment`.
  [[nodiscard]] index_t byte_count() const {
    const index_t bytes = size_ * static_cast<index_t>(sizeof(T));
    return (bytes + alignment - 1) / alignment * alignment;
  }

  /// The first elements as a tensor, e.g. `b.view(rows, columns)`. Throws when they do not fit.
  template <class... Extent>
  [[nodiscard]] tensor_view<T, sizeof...(Extent)> view(Extent... extent) const {
    tensor_view<T, sizeof...(Extent)> out{data_.get(), {static_cast<index_t>(extent)...}};
    require(out.size() <= size_, "buffer: a view of ", out.size(), " elements of ", size_);
    return out;
  }

  /// Makes room for at least `n` elements. Growing forgets the contents: for reused workspaces.
  void reserve(index_t n) {
    if (n > size_) {
      *this = buffer();  // first give back, then take: the peak stays at the larger of both
      *this = buffer(n);
    }
  }

 private:
  struct deleter {
    void operator()(T* p) const noexcept { Space::release(p); }
  };
  std::unique_ptr<T, deleter> data_;
  index_t size_ = 0;
};

}  // namespace zoq
