// prompt: P rows of activations before every sequence, tuned in place of words.
//
//     zoq::prompt_layout<zoq::cpu> layout(exec, target, {.rows = 16});
//
// The rows start as the embeddings of given tokens (target.tokens, again and again) or of random ones.
// Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv 2104.08691.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/start_values.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// In text: `prompt:rows=8`.
struct prompt_settings {
  static constexpr std::string_view name = "prompt";
  static constexpr std::string_view summary = "rows of activations before every sequence";
  static constexpr std::string_view paper = "arXiv 2104.08691";
  static constexpr std::string_view cost =
      "4 bytes a value of P C, 4 more for each branch; P more rows in every sequence";
  static constexpr bool begins_as_tokens = true;  // view_traits: target.tokens
  static constexpr bool chooses_tensors = false;  // view_traits: has no selection
  index_t rows = 16;                              // P
  std::uint64_t seed = 0;  // of the tokens that it starts as, where none are given

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rows", self.rows);
    f("seed", self.seed);
  }
};

/// One block of values: [P, C].
template <executor X>
class prompt_layout {
 public:
  static constexpr std::string_view name = prompt_settings::name;

  /// Throws on rows that are not from 1 to 2^20, and on a token outside the vocabulary.
  prompt_layout(const X&, const view_target& target, const prompt_settings& how);

  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return tensors_; }
  void start(const X& exec, tensor_view<float, 1> values) const;
  void hand_out(const X&, const part_values& values, handed_parts& out) {
    out.prompt = prompt_part{rows_, values};
  }
  [[nodiscard]] static index_t byte_count() { return 0; }

 private:
  index_t rows_;
  value_blocks blocks_;
  std::vector<float> start_;  // [P, C], on the host
  index_t tensors_;
};

template <executor X>
prompt_layout<X>::prompt_layout(const X&, const view_target& target, const prompt_settings& how)
    : rows_(how.rows), tensors_(static_cast<index_t>(target.tensors.size())) {
  require_size(name, "rows", how.rows);
  const model_tensor& table = target.embedding(name);
  start_ = embedded(table, prompt_tokens(target.tokens, how.rows, table.weight.rows(), how.seed));
  blocks_.add("prompt", how.rows, table.weight.columns());
}

template <executor X>
void prompt_layout<X>::start(const X& exec, tensor_view<float, 1> values) const {
  exec.upload(start_.data(), blocks_.size(), values.data);
}

}  // namespace zoq
