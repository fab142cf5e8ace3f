// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/view.hpp"

#include <doctest/doctest.h>

#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/sparse.hpp"

namespace {

template <class X>
using sparse = zoq::laid_out_view<X, zoq::sparse_layout<X>>;

// Everything that a view needs but branches().
struct almost {
  static constexpr const char* name = "almost";
  static zoq::value_order order() { return {}; }
  static zoq::tensor_view<float, 1> values() { return {}; }
  template <class X>
  static void move_to(const X&, const zoq::any_direction&, std::span<const zoq::query>) {}
  template <class X>
  static void move_to_values(const X&) {}
  static zoq::index_t byte_count() { return 0; }
};
struct whole : almost {
  static zoq::branch_parts branches() { return {}; }
};

}  // namespace

TEST_CASE("parameter_view: the sparse view is one on every executor, what lacks a part is none") {
  static_assert(zoq::parameter_view<sparse<zoq::serial>, zoq::serial>);
  static_assert(zoq::parameter_view<sparse<zoq::cpu>, zoq::cpu>);
  static_assert(zoq::parameter_view<whole, zoq::cpu>);
  static_assert(!zoq::parameter_view<almost, zoq::cpu>);
  static_assert(!zoq::parameter_view<whole, int>);
  CHECK(sparse<zoq::cpu>::name == "sparse");
}
