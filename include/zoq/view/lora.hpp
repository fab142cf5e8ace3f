// lora: y += (alpha / R) (x A^T) B^T beside every selected matrix of a linear layer, A [R, C], B [O, R].
//
//     zoq::lora_layout<zoq::cpu> layout(exec, target, {.rank = 8, .alpha = 16});
//     zoq::lora_b_layout<zoq::cpu> fixed(exec, target, {.rank = 8});     // A stays as drawn
//
// A is drawn from the seed, normal of variance 1 / C, so that x A^T is as large as x; B is zero at
// first, so tuning starts at the model. Hu et al., arXiv 2106.09685; A fixed: "LoRA-FA", arXiv
// 2308.03303.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/start_values.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// In text: `lora:rank=4,alpha=8`, or `lora-b:...` for a fixed A.
template <bool FixedA>
struct lora_settings_of {
  static constexpr std::string_view name = FixedA ? "lora-b" : "lora";
  static constexpr std::string_view summary =
      FixedA ? "the second factor of a low-rank product beside every matrix, the first as drawn"
             : "a low-rank product beside every matrix of a linear layer";
  static constexpr std::string_view paper = FixedA ? "arXiv 2308.03303" : "arXiv 2106.09685";
  static constexpr std::string_view cost =
      FixedA ? "4 bytes a value of R O, 4 more for each branch; 4 for each of R C drawn ones"
             : "4 bytes a value of R (C + O), 4 more for each branch";
  index_t rank = 8;        // R
  double alpha = 16;       // the product is scaled by alpha / rank
  std::uint64_t seed = 0;  // of every A

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rank", self.rank);
    f("alpha", self.alpha);
    f("seed", self.seed);
  }
};
using lora_settings = lora_settings_of<false>;   // A and B are tuned
using lora_b_settings = lora_settings_of<true>;  // B alone is

/// A and B, or B alone, for every selected matrix, in the order of the model.
template <executor X, bool FixedA>
class lora_layout_of {
 public:
  using settings_type = lora_settings_of<FixedA>;  // lora's, or lora-b's
  static constexpr std::string_view name = settings_type::name;

  /// Throws on a rank that is not from 1 to 2^20, an alpha that is not finite, and when no matrix is selected.
  lora_layout_of(const X& exec, const view_target& target, const settings_type& how);

  /// The tensors of these numbers; may be none.
  lora_layout_of(const X& exec, std::span<const model_tensor> tensors,
                 std::span<const index_t> numbers, const settings_type& how);

  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return tensors_; }

  void start(const X& exec, tensor_view<float, 1> values) const;
  void hand_out(const X&, const part_values& values, handed_parts& out);
  [[nodiscard]] index_t byte_count() const { return frozen_.byte_count(); }

 private:
  struct tuned_matrix {
    index_t number;
    index_t columns;
    index_t a, b;  // first values; of a fixed A among the frozen ones
  };

  static const settings_type& checked(const settings_type& how);
  void add(std::span<const model_tensor> tensors, index_t number);
  void finish(const X& exec);

  // Every A, to its place behind `to`.
  void draw(const X& exec, float* to) const;

  settings_type how_;
  value_blocks blocks_;
  std::vector<tuned_matrix> tuned_;
  buffer<float, typename X::space> frozen_;  // [sum of R C] of fixed A
  index_t drawn_ = 0;                        // values of fixed A
  index_t tensors_;
};

template <executor X, bool FixedA>
lora_layout_of<X, FixedA>::lora_layout_of(const X& exec, const view_target& target,
                                          const settings_type& how)
    : how_(checked(how)), tensors_(static_cast<index_t>(target.tensors.size())) {
  target.require_linear(name);
  for (std::size_t i = 0; i < target.tensors.size(); ++i) {
    const model_tensor& t = target.tensors[i];
    if (t.role == tensor_role::linear && target.selection.holds(t.name)) {
      add(target.tensors, static_cast<index_t>(i));
    } else if (t.role == tensor_role::linear) {
      blocks_.skip(how.rank * (t.weight.rows() + (FixedA ? 0 : t.weight.columns())));
    }
  }
  finish(exec);
}

template <executor X, bool FixedA>
lora_layout_of<X, FixedA>::lora_layout_of(const X& exec, std::span<const model_tensor> tensors,
                                          std::span<const index_t> numbers,
                                          const settings_type& how)
    : how_(checked(how)), tensors_(static_cast<index_t>(tensors.size())) {
  for (const index_t number : numbers) {
    add(tensors, number);
  }
  finish(exec);
}

template <executor X, bool FixedA>
void lora_layout_of<X, FixedA>::start(const X& exec, tensor_view<float, 1> values) const {
  if constexpr (!FixedA) {
    draw(exec, values.data);
  }
}

template <executor X, bool FixedA>
void lora_layout_of<X, FixedA>::hand_out(const X&, const part_values& values, handed_parts& out) {
  const part_values frozen{{frozen_.data(), {1, frozen_.size()}}, 0};
  for (const tuned_matrix& m : tuned_) {
    out.tensor[static_cast<std::size_t>(m.number)].low_rank =
        low_rank_part{how_.rank, static_cast<float>(how_.alpha / static_cast<double>(how_.rank)),
                      (FixedA ? frozen : values).from(m.a), values.from(m.b)};
  }
}

template <executor X, bool FixedA>
const lora_settings_of<FixedA>& lora_layout_of<X, FixedA>::checked(const settings_type& how) {
  require_size(name, "rank", how.rank);
  require(std::isfinite(how.alpha), name, ": alpha is ", how.alpha, ", wanted a finite number");
  return how;
}

template <executor X, bool FixedA>
void lora_layout_of<X, FixedA>::add(std::span<const model_tensor> tensors, index_t number) {
  const model_tensor& t = tensors[static_cast<std::size_t>(number)];
  tuned_matrix m{number, t.weight.columns(), drawn_, 0};
  if constexpr (FixedA) {
    drawn_ += how_.rank * m.columns;
  } else {
    m.a = blocks_.add(t.name + ".lora_a", how_.rank, m.columns);
  }
  m.b = blocks_.add(t.name + ".lora_b", t.weight.rows(), how_.rank);
  tuned_.push_back(m);
}

template <executor X, bool FixedA>
void lora_layout_of<X, FixedA>::finish(const X& exec) {
  frozen_ = exec.template allocate<float>(drawn_);
  if constexpr (FixedA) {
    draw(exec, frozen_.data());
  }
}

template <executor X, bool FixedA>
void lora_layout_of<X, FixedA>::draw(const X& exec, float* to) const {
  for (const tuned_matrix& m : tuned_) {
    const std::vector<float> a = normal_values(how_.seed, m.number, how_.rank * m.columns,
                                               1 / std::sqrt(static_cast<double>(m.columns)));
    exec.upload(a.data(), how_.rank * m.columns, to + m.a);
  }
}

/// A and B are tuned.
template <executor X>
using lora_layout = lora_layout_of<X, false>;
/// B is tuned, A is drawn once.
template <executor X>
using lora_b_layout = lora_layout_of<X, true>;

}  // namespace zoq
