// The views that can be chosen at run time: their settings, and the layout that any of them becomes.
//
//     zoq::any_view how = zoq::policy_named<zoq::any_view>("view", "lora:rank=4,alpha=8");
//     zoq::laid_out_view view(exec, zoq::layout_of(exec, how, target));
//
// A layout is visited once a move. A new view is one more name in two lists and one line in layout_of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "zoq/core/choice.hpp"
#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"
#include "zoq/view/dense.hpp"
#include "zoq/view/hybrid.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/layout.hpp"
#include "zoq/view/lora.hpp"
#include "zoq/view/prefix.hpp"
#include "zoq/view/prompt.hpp"
#include "zoq/view/residual_prompt.hpp"
#include "zoq/view/scales.hpp"
#include "zoq/view/sparse.hpp"
#include "zoq/view/subspace.hpp"
#include "zoq/view/target.hpp"
#include "zoq/view/value_blocks.hpp"

namespace zoq {

/// All but subspace, which wraps one of them.
using any_plain_view =
    std::variant<sparse_settings, dense_settings, lora_settings, lora_b_settings, prompt_settings,
                 prefix_settings, residual_prompt_settings, scales_settings, hybrid_settings>;

/// Settings of `of` are settings of this too; the seed is one for both.
struct subspace_settings {
  static constexpr std::string_view name = "subspace";
  static constexpr std::string_view summary =
      "a few values that move all of another view's at random";
  static constexpr std::string_view paper = "arXiv 1804.08838";
  static constexpr std::string_view cost =
      "4 bytes a value of d, 4 (n + branches n) for the other view's n; n d additions a branch";
  std::string of = "lora";  // the other view
  index_t dimension = 100;  // d
  std::uint64_t seed = 0;
  any_plain_view inner = lora_settings{};

  template <class Self, class F>
  static void settings(Self& self, F&& f) {
    f("of", self.of);
    if constexpr (!std::is_const_v<Self>) {
      if (self.of != name_of(self.inner)) {
        self.inner = choice_named<any_plain_view>("view", self.of);
      }
    }
    f("dimension", self.dimension);
    f("seed", self.seed);
    std::visit(
        [&](auto& inner) {
          for_each_setting(inner, [&](std::string_view one, auto& value) {
            if (one != "seed") {
              f(one, value);
            } else if constexpr (std::is_same_v<decltype(value), std::uint64_t&>) {
              value = self.seed;
            }
          });
        },
        self.inner);
  }
};

using any_view = std::variant<sparse_settings, dense_settings, lora_settings, lora_b_settings,
                              prompt_settings, prefix_settings, residual_prompt_settings,
                              scales_settings, hybrid_settings, subspace_settings>;

/// One of several layouts; itself one.
template <executor X, view_layout<X>... L>
class layout_choice {
 public:
  static constexpr std::string_view name = "view";

  template <class One>
  requires(std::is_same_v<One, L> || ...)  //
      layout_choice(One layout)            // NOLINT(google-explicit-constructor)
      : of_(std::move(layout)) {}

  [[nodiscard]] const std::variant<L...>& chosen() const { return of_; }
  [[nodiscard]] const value_blocks& blocks() const {
    return std::visit([](const auto& one) -> const value_blocks& { return one.blocks(); }, of_);
  }
  [[nodiscard]] index_t tensors() const {
    return std::visit([](const auto& one) { return one.tensors(); }, of_);
  }
  void start(const X& exec, tensor_view<float, 1> values) const {
    std::visit([&](const auto& one) { one.start(exec, values); }, of_);
  }
  void hand_out(const X& exec, const part_values& values, handed_parts& out) {
    std::visit([&](auto& one) { one.hand_out(exec, values, out); }, of_);
  }
  [[nodiscard]] index_t byte_count() const {
    return std::visit([](const auto& one) -> index_t { return one.byte_count(); }, of_);
  }
  /// The mask that the layout was made with; empty where it has none.
  [[nodiscard]] mask places(const X& exec) const {
    return std::visit([&](const auto& one) { return places_of(exec, one); }, of_);
  }

 private:
  std::variant<L...> of_;
};

template <executor X>
using any_plain_layout =
    layout_choice<X, sparse_layout<X>, dense_layout<X>, lora_layout<X>, lora_b_layout<X>,
                  prompt_layout<X>, prefix_layout<X>, residual_prompt_layout<X>, scales_layout<X>,
                  hybrid_layout<X>>;
template <executor X>
using any_layout = layout_choice<X, any_plain_layout<X>, subspace_layout<X, any_plain_layout<X>>>;

/// The layout that settings call for. Throws as the layout does.
template <executor X>
any_plain_layout<X> layout_of(const X& exec, const any_plain_view& how, const view_target& target) {
  using out = any_plain_layout<X>;
  return std::visit(
      [&]<class S>(const S& settings) -> out {
        if constexpr (std::is_same_v<S, sparse_settings>) {
          require(target.places != nullptr, "sparse: needs a mask");
          return sparse_layout<X>(exec, target.tensors, *target.places, target.selection, settings);
        } else if constexpr (std::is_same_v<S, dense_settings>) {
          return dense_layout<X>(exec, target, settings);
        } else if constexpr (std::is_same_v<S, lora_settings>) {
          return lora_layout<X>(exec, target, settings);
        } else if constexpr (std::is_same_v<S, lora_b_settings>) {
          return lora_b_layout<X>(exec, target, settings);
        } else if constexpr (std::is_same_v<S, prompt_settings>) {
          return prompt_layout<X>(exec, target, settings);
        } else if constexpr (std::is_same_v<S, prefix_settings>) {
          return prefix_layout<X>(exec, target, settings);
        } else if constexpr (std::is_same_v<S, residual_prompt_settings>) {
          return residual_prompt_layout<X>(exec, target, settings);
        } else if constexpr (std::is_same_v<S, scales_settings>) {
          return scales_layout<X>(exec, target, settings);
        } else {
          return hybrid_layout<X>(exec, target, settings);
        }
      },
      how);
}
template <executor X>
any_layout<X> layout_of(const X& exec, const any_view& how, const view_target& target) {
  return std::visit(
      [&]<class S>(const S& settings) -> any_layout<X> {
        if constexpr (std::is_same_v<S, subspace_settings>) {
          return subspace_layout<X, any_plain_layout<X>>(
              exec, layout_of(exec, settings.inner, target), {settings.dimension, settings.seed});
        } else {
          return layout_of(exec, any_plain_view(settings), target);
        }
      },
      how);
}

}  // namespace zoq
