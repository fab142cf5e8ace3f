// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/executor.hpp"

#include <doctest/doctest.h>

#include <type_traits>

namespace {

// Memory and loops are not enough: sums too have an order that the executor fixes.
struct without_sum {
  static constexpr const char* name = "without_sum";
  using space = zoq::host_space;
  template <class T>
  [[nodiscard]] zoq::buffer<T> allocate(zoq::index_t n) const {
    return zoq::buffer<T>(n);
  }
  template <class F>
  void for_each(zoq::index_t, const F&) const {}
  template <class T>
  void upload(const T*, zoq::index_t, T*) const {}
  template <class T>
  void download(const T*, zoq::index_t, T*) const {}
};

struct with_float_sum : without_sum {
  template <class F>
  [[nodiscard]] float sum(zoq::index_t, const F&) const {
    return 0;
  }
};

}  // namespace

static_assert(zoq::executor<zoq::any_executor>);
static_assert(!zoq::executor<without_sum>);
static_assert(!zoq::executor<with_float_sum>);
static_assert(!zoq::executor<int>);

TEST_CASE("any_executor: gives memory and runs nothing") {
  const zoq::any_executor exec;
  CHECK(exec.allocate<float>(3).size() == 3);
  CHECK(exec.sum(3, zoq::detail::any_summand{}) == 0);
  exec.for_each(3, zoq::detail::any_map{});
}
