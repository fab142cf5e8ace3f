// laid_out_view: k values, and the layout that says what they are. The one owner of values.
//
//     zoq::laid_out_view view(exec, zoq::lora_layout<zoq::cpu>(exec, target, {.rank = 8}));
//     view.values();                             // [k], at the layout's start
//     view.move_to(exec, direction, queries);    // branch b is at origin + scale * shape * z(seed)
//
// Memory: 4 bytes a value, 4 more for each branch, 8 where a selection leaves values out, and the
// layout's own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/sparse/delta.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layout.hpp"

namespace zoq {

/// Four values of one branch: out = origin + scale * shape * z, in double, rounded once.
template <field Field>
struct move_block {
  Field z;                       // of the branch's seed
  double scale;                  // of the query
  const float* shape;            // [k] or null
  const float* origin;           // [k]
  float* out;                    // [k]
  index_t count;                 // k
  const index_t* key = nullptr;  // [k] elements of z; null: 0 to k - 1

  ZOQ_HD void operator()(index_t block) const {
    const float4v noise = four_of(z, key, count, block);
    const index_t first = 4 * block;
    for (index_t j = 0; j < 4 && first + j < count; ++j) {
      const index_t i = first + j;
      const double step = scale * (shape == nullptr ? 1.0 : static_cast<double>(shape[i]));
      out[i] = static_cast<float>(static_cast<double>(origin[i]) +
                                  step * static_cast<double>(noise.at[j]));
    }
  }
};

namespace detail {

/// Branch b of `out` [branches, k] becomes query b's point, beginning at `values` [k].
template <executor X>
void move_values(const X& exec, const any_direction& direction, std::span<const query> asked,
                 const value_order& order, const float* values, float* out) {
  const index_t k = order.size;
  for (const query& q : asked) {
    const float* origin = q.origin == nullptr ? values : q.origin;
    std::visit(
        [&](const auto& z) {
          const auto field = z.at(q.seed, order);
          exec.for_each((k + 3) / 4, move_block<std::decay_t<decltype(field)>>{
                                         field, q.scale, q.shape, origin, out, k, order.key});
        },
        direction);
    out += k;
  }
}

}  // namespace detail

/// A layout's values, and the parts that they become at each move.
template <executor X, view_layout<X> Layout>
class laid_out_view {
 public:
  static constexpr std::string_view name = Layout::name;

  /// Starts at the layout's initial values. Keeps a reference to the executor.
  laid_out_view(const X& exec, Layout layout);

  [[nodiscard]] const Layout& layout() const { return layout_; }  // says what the values mean
  /// Extents and keys of the values. Valid while this view lives.
  [[nodiscard]] value_order order() const;
  /// [k], in the executor's memory. After writing them: move_to_values.
  [[nodiscard]] tensor_view<float, 1> values() { return values_.view(values_.size()); }
  /// The same, to read.
  [[nodiscard]] tensor_view<const float, 1> values() const { return values_.view(values_.size()); }

  /// Moves branch b to query b's point. Cost: k directions a query.
  void move_to(const X& exec, const any_direction& direction, std::span<const query> asked);

  /// One branch: the values as they are.
  void move_to_values(const X& exec) { hand_out(exec, values_.data(), 1); }

  /// The parts at the last move. Valid until the next one.
  [[nodiscard]] branch_parts branches() const { return handed_.of(branches_, pairs_); }

  /// The values, copied to the host: [k].
  [[nodiscard]] std::vector<float> to_host() const;

  /// Of a sparse view: the places, with the mask's model and origin, and the values, on the host.
  /// A template, since clang 14 instantiates the plain member with its class, constraint or not.
  template <class L = Layout>
  requires requires(const L& l, const X& exec) { l.to_delta(exec, std::vector<float>()); }
  [[nodiscard]] delta to_delta() const {
    return static_cast<const L&>(layout_).to_delta(exec_, to_host());
  }

  /// Bytes of the layout, values and branches.
  [[nodiscard]] index_t byte_count() const;

 private:
  void hand_out(const X& exec, const float* values, index_t branches);

  const X& exec_;
  Layout layout_;
  buffer<index_t, typename X::space> keys_;  // [k], where a selection leaves values out
  buffer<float, typename X::space> values_;  // [k]
  buffer<float, typename X::space> moved_;   // [branches, k]
  handed_parts handed_;
  index_t branches_ = 1;
  bool pairs_ = false;  // of opposite branches
};

template <executor X, view_layout<X> Layout>
laid_out_view<X, Layout>::laid_out_view(const X& exec, Layout layout)
    : exec_(exec),
      layout_(std::move(layout)),
      values_(exec.template allocate<float>(layout_.blocks().size())) {
  if (const std::vector<index_t> keys = layout_.blocks().numbers(); !keys.empty()) {
    keys_ = exec.template allocate<index_t>(values_.size());
    exec.upload(keys.data(), values_.size(), keys_.data());
  }
  layout_.start(exec, values());
  handed_.tensor.resize(static_cast<std::size_t>(layout_.tensors()));
  move_to_values(exec);
}

template <executor X, view_layout<X> Layout>
value_order laid_out_view<X, Layout>::order() const {
  value_order out = layout_.blocks().order();
  out.key = keys_.data();
  out.on_host = on_host<typename X::space>;
  return out;
}

template <executor X, view_layout<X> Layout>
void laid_out_view<X, Layout>::move_to(const X& exec, const any_direction& direction,
                                       std::span<const query> asked) {
  require(!asked.empty(), name, ": no branch to move to");
  const auto branches = static_cast<index_t>(asked.size());
  moved_.reserve(branches * values_.size());
  detail::move_values(exec, direction, asked, order(), values_.data(), moved_.data());
  hand_out(exec, moved_.data(), branches);
  pairs_ = all_opposite(asked);
}

template <executor X, view_layout<X> Layout>
std::vector<float> laid_out_view<X, Layout>::to_host() const {
  return detail::downloaded(exec_, values_.data(), values_.size());
}

template <executor X, view_layout<X> Layout>
index_t laid_out_view<X, Layout>::byte_count() const {
  return layout_.byte_count() + keys_.byte_count() + values_.byte_count() + moved_.byte_count();
}

template <executor X, view_layout<X> Layout>
void laid_out_view<X, Layout>::hand_out(const X& exec, const float* values, index_t branches) {
  branches_ = branches;
  pairs_ = false;
  layout_.hand_out(exec, part_values{{values, {branches, values_.size()}}, 0}, handed_);
}

}  // namespace zoq
