// residual-prompt: a frozen prompt E [P, C] and a bottleneck beside it, shared by its rows:
//
//     x_p = E_p + U relu(D E_p)          D [M, C], U [C, M] are tuned
//
//     zoq::residual_prompt_layout<zoq::cpu> layout(exec, target, {.rows = 16, .width = 32});
//
// U starts at zero, so tuning starts at the frozen prompt to the bit; D is drawn from the seed, normal
// of variance 1 / C. Razdaibiedina et al., "Residual Prompt Tuning", arXiv 2305.03937, who tune E too and
// norm the bottleneck's output; a norm has no slope at an output of zero, and is left out here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/start_values.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// In text: `residual-prompt:rows=8,width=64`.
struct residual_prompt_settings {
  static constexpr std::string_view name = "residual-prompt";
  static constexpr std::string_view summary = "a frozen prompt and a small network beside it";
  static constexpr std::string_view paper = "arXiv 2305.03937";
  static constexpr std::string_view cost =
      "4 bytes a value of 2 M C, 4 more for each branch; P more rows in every sequence";
  static constexpr bool begins_as_tokens = true;  // view_traits: target.tokens
  static constexpr bool chooses_tensors = false;  // view_traits: has no selection
  index_t rows = 16;                              // P, of the prompt
  index_t width = 32;                             // M, of the bottleneck
  std::uint64_t seed = 0;  // of D, and of the prompt's tokens where none are given

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rows", self.rows);
    f("width", self.width);
    f("seed", self.seed);
  }
};

/// h[b, p, m] = relu(sum_c D_b[m, c] E[p, c]).
struct bottleneck_down {
  const float* frozen;  // E [P, C]
  part_values down;     // [M, C]
  index_t rows,         // P
      width,            // M
      columns;          // C
  float* h;             // [branches, P, M]
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / width;  // of all branches
    const float* d = down.at(row / rows) + i % width * columns;
    const float* e = frozen + row % rows * columns;
    float sum = 0;
    for (index_t c = 0; c < columns; ++c) {
      sum += d[c] * e[c];
    }
    h[i] = sum > 0 ? sum : 0.0f;
  }
};

/// x[b, p, c] = E[p, c] + sum_m U_b[c, m] h[b, p, m].
struct bottleneck_up {
  const float* frozen;  // E [P, C]
  part_values up;       // [C, M]
  index_t rows,         // P
      width,            // M
      columns;          // C
  const float* h;       // [branches, P, M]
  float* x;             // [branches, P, C]
  ZOQ_HD void operator()(index_t i) const {
    const index_t row = i / columns;
    const float* u = up.at(row / rows) + i % columns * width;
    float sum = 0;
    for (index_t m = 0; m < width; ++m) {
      sum += u[m] * h[row * width + m];
    }
    x[i] = frozen[row % rows * columns + i % columns] + sum;
  }
};

/// D, then U; hands out the prompt that they make of E.
template <executor X>
class residual_prompt_layout {
 public:
  static constexpr std::string_view name = residual_prompt_settings::name;

  /// Throws on rows or a width that are not from 1 to 2^20, and on a token outside the vocabulary.
  residual_prompt_layout(const X& exec, const view_target& target,
                         const residual_prompt_settings& how);

  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return tensors_; }
  void start(const X& exec, tensor_view<float, 1> values) const;
  /// 4 P M C operations a branch.
  void hand_out(const X& exec, const part_values& values, handed_parts& out);
  [[nodiscard]] index_t byte_count() const {
    return frozen_.byte_count() + h_.byte_count() + x_.byte_count();
  }

 private:
  using memory = buffer<float, typename X::space>;
  residual_prompt_settings how_;
  value_blocks blocks_;
  memory frozen_;  // [P, C]
  memory h_, x_;   // [branches, P, M], [branches, P, C]
  index_t columns_ = 0, up_ = 0;
  index_t tensors_;
};

template <executor X>
residual_prompt_layout<X>::residual_prompt_layout(const X& exec, const view_target& target,
                                                  const residual_prompt_settings& how)
    : how_(how), tensors_(static_cast<index_t>(target.tensors.size())) {
  require_size(name, "rows", how.rows);
  require_size(name, "width", how.width);
  const model_tensor& table = target.embedding(name);
  columns_ = table.weight.columns();
  const std::vector<float> frozen =
      embedded(table, prompt_tokens(target.tokens, how.rows, table.weight.rows(), how.seed));
  frozen_ = exec.template allocate<float>(how.rows * columns_);
  exec.upload(frozen.data(), frozen_.size(), frozen_.data());
  blocks_.add("residual_prompt.down", how.width, columns_);
  up_ = blocks_.add("residual_prompt.up", columns_, how.width);
}

template <executor X>
void residual_prompt_layout<X>::start(const X& exec, tensor_view<float, 1> values) const {
  const std::vector<float> down =
      normal_values(how_.seed, 0, up_, 1 / std::sqrt(static_cast<double>(columns_)));
  exec.upload(down.data(), up_, values.data);
}

template <executor X>
void residual_prompt_layout<X>::hand_out(const X& exec, const part_values& values,
                                         handed_parts& out) {
  const index_t branches = values.all.shape[0], rows = branches * how_.rows;
  h_.reserve(rows * how_.width);
  x_.reserve(rows * columns_);
  exec.for_each(rows * how_.width, bottleneck_down{frozen_.data(), values, how_.rows, how_.width,
                                                   columns_, h_.data()});
  exec.for_each(rows * columns_, bottleneck_up{frozen_.data(), values.from(up_), how_.rows,
                                               how_.width, columns_, h_.data(), x_.data()});
  out.prompt =
      prompt_part{how_.rows, part_values{{x_.data(), {branches, how_.rows * columns_}}, 0}};
}

}  // namespace zoq
