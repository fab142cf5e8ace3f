// concept executor: who runs the loops, and where memory lies. `serial`, `cpu` and `cuda` model it.
//
//     auto x = exec.template allocate<float>(n);
//     exec.for_each(n, scale_rule{x.data(), 2.0f});          // f(i) for every i in [0, n)
//     double total = exec.sum(n, square_of{x.data()});        // sum of f(i), fixed order
//
// Function objects are named structs with a ZOQ_HD call operator, so that one body runs anywhere.
// `sum` adds in a tree that depends on n alone: any number of threads gives the same bits.
// Fast paths (linear, ...) are further members of an executor; see exec/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/tensor/buffer.hpp"

namespace zoq {

namespace detail {
struct any_map {
  ZOQ_HD void operator()(index_t) const {}
};
struct any_summand {
  ZOQ_HD double operator()(index_t) const { return 0; }
};
}  // namespace detail

template <class X>
concept executor = requires(const X& x, index_t n, float* here, const float* there) {
  typename X::space;
  { X::name } -> std::convertible_to<std::string_view>;
  { x.template allocate<float>(n) } -> std::same_as<buffer<float, typename X::space>>;
  x.for_each(n, detail::any_map{});
  { x.sum(n, detail::any_summand{}) } -> std::same_as<double>;
  x.upload(there, n, here);    // n elements, host -> executor's memory
  x.download(there, n, here);  // n elements, executor's memory -> host
};

namespace detail {
/// A copy of values [n] on the host.
template <executor X>
std::vector<float> downloaded(const X& exec, const float* values, index_t n) {
  std::vector<float> out(static_cast<std::size_t>(n));
  exec.download(values, n, out.data());
  return out;
}
}  // namespace detail

/// An executor that does nothing: stands in where a concept is checked below exec/.
struct any_executor {
  static constexpr std::string_view name = "any";
  using space = host_space;
  /// Zeroed, of the host.
  template <class T>
  [[nodiscard]] buffer<T> allocate(index_t n) const {
    return buffer<T>(n);
  }
  /// Calls nothing.
  template <class F>
  void for_each(index_t, const F&) const {}
  /// Calls nothing: 0.
  template <class F>
  [[nodiscard]] double sum(index_t, const F&) const {
    return 0;
  }
  /// Copies nothing.
  template <class T>
  void upload(const T*, index_t, T*) const {}
  /// Copies nothing.
  template <class T>
  void download(const T*, index_t, T*) const {}
};
static_assert(executor<any_executor>);

}  // namespace zoq
