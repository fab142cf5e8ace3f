// joined: two layouts of different tensors as one; the values of the second stand behind the first's.
//
//     zoq::joined layout(std::move(sparse), std::move(lora));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include "zoq/core/config.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

template <executor X, view_layout<X> A, view_layout<X> B>
class joined {
 public:
  static constexpr std::string_view name = "joined";

  /// Of two layouts for the same model.
  joined(A a, B b);

  [[nodiscard]] const A& first() const { return a_; }   // whose values come first
  [[nodiscard]] const B& second() const { return b_; }  // whose values stand behind
  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return a_.tensors(); }
  void start(const X& exec, tensor_view<float, 1> values) const;
  void hand_out(const X& exec, const part_values& values, handed_parts& out);
  [[nodiscard]] index_t byte_count() const { return a_.byte_count() + b_.byte_count(); }

  /// The places of both; one of them has some at most.
  [[nodiscard]] mask places(const X& exec) const;

 private:
  A a_;
  B b_;
  value_blocks blocks_;
};

template <executor X, view_layout<X> A, view_layout<X> B>
joined<X, A, B>::joined(A a, B b) : a_(std::move(a)), b_(std::move(b)) {
  blocks_.add(a_.blocks());
  blocks_.add(b_.blocks());
}

template <executor X, view_layout<X> A, view_layout<X> B>
void joined<X, A, B>::start(const X& exec, tensor_view<float, 1> values) const {
  const index_t n = a_.blocks().size();
  a_.start(exec, values.rows(0, n));
  b_.start(exec, values.rows(n, b_.blocks().size()));
}

template <executor X, view_layout<X> A, view_layout<X> B>
void joined<X, A, B>::hand_out(const X& exec, const part_values& values, handed_parts& out) {
  a_.hand_out(exec, values, out);
  b_.hand_out(exec, values.from(a_.blocks().size()), out);
}

template <executor X, view_layout<X> A, view_layout<X> B>
mask joined<X, A, B>::places(const X& exec) const {
  mask of_a = places_of(exec, a_);
  return of_a.tensors.empty() ? places_of(exec, b_) : of_a;
}

}  // namespace zoq
