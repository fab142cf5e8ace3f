// prefix: P keys and values in every layer before every sequence, tuned.
//
//     zoq::prefix_layout<zoq::cpu> layout(exec, target, {.rows = 5});     // needs target.key_columns
//
// They start at small random numbers. Keys are tuned before their positions turn them. Li and Liang,
// "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv 2101.00190.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
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

/// In text: `prefix:rows=10`.
struct prefix_settings {
  static constexpr std::string_view name = "prefix";
  static constexpr std::string_view summary =
      "keys and values before every sequence, in every layer";
  static constexpr std::string_view paper = "arXiv 2101.00190";
  static constexpr std::string_view cost =
      "4 bytes a value of 2 P K D a layer, 4 more for each branch; P more keys in attention";
  static constexpr bool chooses_tensors = false;  // view_traits: has no selection
  index_t rows = 5;                               // P, in every layer
  double deviation = 0.02;                        // of the initial values
  std::uint64_t seed = 0;                         // of the initial values

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("rows", self.rows);
    f("deviation", self.deviation);
    f("seed", self.seed);
  }
};

/// Keys, then values, [P, K * D], of one layer after another.
template <executor X>
class prefix_layout {
 public:
  static constexpr std::string_view name = prefix_settings::name;

  /// Throws on rows that are not from 1 to 2^20, a deviation that is not finite, and when the target names no columns of keys.
  prefix_layout(const X&, const view_target& target, const prefix_settings& how);

  [[nodiscard]] const value_blocks& blocks() const { return blocks_; }
  [[nodiscard]] index_t tensors() const { return tensors_; }
  void start(const X& exec, tensor_view<float, 1> values) const;
  void hand_out(const X&, const part_values& values, handed_parts& out);
  [[nodiscard]] static index_t byte_count() { return 0; }

 private:
  struct layer {
    index_t key, value;  // first values
  };
  prefix_settings how_;
  value_blocks blocks_;
  std::vector<layer> layers_;
  index_t tensors_;
};

template <executor X>
prefix_layout<X>::prefix_layout(const X&, const view_target& target, const prefix_settings& how)
    : how_(how), tensors_(static_cast<index_t>(target.tensors.size())) {
  require_size(name, "rows", how.rows);
  require(std::isfinite(how.deviation), name, ": deviation is ", how.deviation,
          ", wanted a finite number");
  require(!target.key_columns.empty(), name, ": the columns of keys are not known");
  for (std::size_t l = 0; l < target.key_columns.size(); ++l) {
    const index_t columns = target.key_columns[l];
    const index_t key = blocks_.add(text("blk.", l, ".prefix_key"), how.rows, columns);
    layers_.push_back({key, blocks_.add(text("blk.", l, ".prefix_value"), how.rows, columns)});
  }
}

template <executor X>
void prefix_layout<X>::start(const X& exec, tensor_view<float, 1> values) const {
  const std::vector<float> small = normal_values(how_.seed, 0, blocks_.size(), how_.deviation);
  exec.upload(small.data(), blocks_.size(), values.data);
}

template <executor X>
void prefix_layout<X>::hand_out(const X&, const part_values& values, handed_parts& out) {
  out.prefix.clear();
  for (const layer& l : layers_) {
    out.prefix.push_back({how_.rows, values.from(l.key), values.from(l.value)});
  }
}

}  // namespace zoq
