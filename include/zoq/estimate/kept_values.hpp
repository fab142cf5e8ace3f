// kept_values: k floats that an estimator keeps in the memory of whatever executor it runs on.
//
//     kept_values anchor;
//     anchor.reserve(exec, k);
//     anchor.assign(exec, at.values);       // a copy of the values
//     anchor.append_to(exec, saved);        // on the host
//
// The type does not depend on the executor, because the type of an estimator's state does not.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

namespace detail {
struct fill_with {
  float value;
  float* to;
  ZOQ_HD void operator()(index_t i) const { to[i] = value; }
};
struct copy_values {
  const float* from;
  float* to;
  ZOQ_HD void operator()(index_t i) const { to[i] = from[i]; }
};
struct release {
  void (*how)(void*) = nullptr;
  void operator()(void* p) const { how(p); }
};
}  // namespace detail

class kept_values {
 public:
  /// In the memory of the executor; null before the first `reserve`.
  [[nodiscard]] float* data() const { return data_; }
  /// As reserved; 0 before.
  [[nodiscard]] index_t size() const { return size_; }

  /// Room for n floats; zeroed where it was another number.
  template <executor X>
  void reserve(const X& exec, index_t n) {
    if (n != size_) {
      using memory = buffer<float, typename X::space>;
      auto made = std::make_unique<memory>(exec.template allocate<float>(n));
      data_ = made->data();
      size_ = n;
      owner_ = std::unique_ptr<void, detail::release>(
          made.release(), detail::release{[](void* p) { delete static_cast<memory*>(p); }});
    }
  }
  /// Sets each of them to `value`.
  template <executor X>
  void fill(const X& exec, float value) {
    exec.for_each(size_, detail::fill_with{value, data_});
  }
  /// `from` [size] lies in the executor's memory.
  template <executor X>
  void assign(const X& exec, const float* from) {
    exec.for_each(size_, detail::copy_values{from, data_});
  }

  /// Appends a copy to `out`, on the host.
  template <executor X>
  void append_to(const X& exec, std::vector<float>& out) const {
    const std::size_t before = out.size();
    out.resize(before + static_cast<std::size_t>(size_));
    if (size_ != 0) {
      exec.download(data_, size_, out.data() + before);
    }
  }
  /// Takes all of `saved`, from the host.
  template <executor X>
  void restore(const X& exec, std::span<const float> saved) {
    reserve(exec, static_cast<index_t>(saved.size()));
    if (size_ != 0) {
      exec.upload(saved.data(), size_, data_);
    }
  }

 private:
  std::unique_ptr<void, detail::release> owner_;
  float* data_ = nullptr;
  index_t size_ = 0;
};

/// A word of 64 bits as four floats, each a whole number below 2^16: exact in any file of floats.
void append_word(std::uint64_t word, std::vector<float>& out);
/// A double's 64 bits, likewise.
void append_word(double number, std::vector<float>& out);

/// The word that starts at `saved`, which is moved behind it. Throws when there is none.
std::uint64_t take_word(std::span<const float>& saved);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void append_word(std::uint64_t word, std::vector<float>& out) {
  for (int part = 0; part < 4; ++part) {
    out.push_back(static_cast<float>(word >> (16 * part) & 0xffff));
  }
}

ZOQ_BODY void append_word(double number, std::vector<float>& out) {
  append_word(std::bit_cast<std::uint64_t>(number), out);
}

ZOQ_BODY std::uint64_t take_word(std::span<const float>& saved) {
  require(saved.size() >= 4, "state: it ends early");
  std::uint64_t word = 0;
  for (int part = 0; part < 4; ++part) {
    const float f = saved[static_cast<std::size_t>(part)];
    require(f >= 0 && f < 65536, "state: ", f, " where a number from 0 to 65535 was wanted");
    word |= static_cast<std::uint64_t>(f) << (16 * part);
  }
  saved = saved.subspan(4);
  return word;
}

}  // namespace zoq

#endif
