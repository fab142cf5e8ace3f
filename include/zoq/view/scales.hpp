// scales: a factor on every block of columns of every selected matrix, as if the block's own scale were
// tuned: W_b = (1 + value_b) * decode(W).
//
//     zoq::scales_layout<zoq::cpu> layout(exec, target, {.block = 32});
//
// Values start at zero, at the model to the bit. A value is relative to the stored scale, and a format's
// offsets are scaled with it. QZO, "Fine-tuning Quantized Neural Networks with Zeroth-order
// Optimization", arXiv 2505.13430, tunes the stored scales themselves.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// In text: `scales:block=64`.
struct scales_settings {
  static constexpr std::string_view name = "scales";
  static constexpr std::string_view summary = "a factor on every block of weights";
  static constexpr std::string_view paper = "arXiv 2505.13430";
  static constexpr std::string_view cost =
      "4 bytes a block of weights, 4 more for each branch; each branch decodes and multiplies "
      "weights of its own";
  index_t block = 32;  // columns

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("block", self.block);
  }
};

/// Factors [O, C / block] of every selected matrix, in the order of the model.
template <executor X>
class scales_layout {
 public:
  static constexpr std::string_view name = scales_settings::name;

  /// Throws, naming the tensor, when the block does not divide its columns, and when no matrix is
  /// selected.
  scales_layout(const X&, const view_target& target, const scales_settings& how);

  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return tensors_; }
  void start(const X&, tensor_view<float, 1>) const {}
  void hand_out(const X&, const part_values& values, handed_parts& out);
  [[nodiscard]] static index_t byte_count() { return 0; }

 private:
  struct tuned_tensor {
    index_t number, first;
  };
  index_t block_;
  value_blocks blocks_;
  std::vector<tuned_tensor> tuned_;
  index_t tensors_;
};

template <executor X>
scales_layout<X>::scales_layout(const X&, const view_target& target, const scales_settings& how)
    : block_(how.block), tensors_(static_cast<index_t>(target.tensors.size())) {
  target.require_linear(name);
  for (std::size_t i = 0; i < target.tensors.size(); ++i) {
    const model_tensor& t = target.tensors[i];
    const index_t columns = t.weight.columns();
    if (t.role != tensor_role::linear) {
      continue;
    }
    if (!target.selection.holds(t.name)) {
      blocks_.skip(t.weight.rows() * (how.block > 0 ? columns / how.block : 0));
      continue;
    }
    require(how.block > 0 && columns % how.block == 0, "scales: a block of ", how.block,
            " does not divide the ", columns, " columns of ", t.name);
    tuned_.push_back({static_cast<index_t>(i),
                      blocks_.add(t.name + ".factor", t.weight.rows(), columns / how.block)});
  }
}

template <executor X>
void scales_layout<X>::hand_out(const X&, const part_values& values, handed_parts& out) {
  for (const auto& [number, first] : tuned_) {
    out.tensor[static_cast<std::size_t>(number)].factor = factor_part{block_, values.from(first)};
  }
}

}  // namespace zoq
