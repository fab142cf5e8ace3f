// The views that can be chosen at run time: their settings, and the layout that any of them becomes.
//
//     zoq::any_view how = zoq::policy_named<zoq::any_view>("view", "lora:rank=4,alpha=8");
//     zoq::laid_out_view view(exec, zoq::layout_of(exec, how, target));
//
// A layout is visited once a move. A new view is one more line in `plain_views`.
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

/// One of several layouts; itself one.
template <executor X, view_layout<X>... L>
class layout_choice {
 public:
  static constexpr std::string_view name = "view";

  /// Takes a layout of one of the types L.
  template <class One>
  requires(std::is_same_v<One, L> || ...)  //
      layout_choice(One layout)            // NOLINT(google-explicit-constructor)
      : of_(std::move(layout)) {}

  /// To visit the layout as its own type.
  [[nodiscard]] const std::variant<L...>& chosen() const { return of_; }
  [[nodiscard]] const value_blocks& blocks() const;
  [[nodiscard]] index_t tensors() const;
  void start(const X& exec, tensor_view<float, 1> values) const;
  void hand_out(const X& exec, const part_values& values, handed_parts& out);
  [[nodiscard]] index_t byte_count() const;
  /// The mask that the layout was made with; empty where it has none.
  [[nodiscard]] mask places(const X& exec) const;

 private:
  std::variant<L...> of_;
};

template <executor X, view_layout<X>... L>
const value_blocks& layout_choice<X, L...>::blocks() const {
  return std::visit([](const auto& one) -> const value_blocks& { return one.blocks(); }, of_);
}

template <executor X, view_layout<X>... L>
index_t layout_choice<X, L...>::tensors() const {
  return std::visit([](const auto& one) { return one.tensors(); }, of_);
}

template <executor X, view_layout<X>... L>
void layout_choice<X, L...>::start(const X& exec, tensor_view<float, 1> values) const {
  std::visit([&](const auto& one) { one.start(exec, values); }, of_);
}

template <executor X, view_layout<X>... L>
void layout_choice<X, L...>::hand_out(const X& exec, const part_values& values, handed_parts& out) {
  std::visit([&](auto& one) { one.hand_out(exec, values, out); }, of_);
}

template <executor X, view_layout<X>... L>
index_t layout_choice<X, L...>::byte_count() const {
  return std::visit([](const auto& one) -> index_t { return one.byte_count(); }, of_);
}

template <executor X, view_layout<X>... L>
mask layout_choice<X, L...>::places(const X& exec) const {
  return std::visit([&](const auto& one) { return places_of(exec, one); }, of_);
}

/// A view: its settings, and the layout that they become.
template <class Settings, template <executor> class Layout>
struct view_entry {
  using settings = Settings;
  template <executor X>
  using layout = Layout<X>;  // for an executor
};

/// Entries as variants: of settings, and of layouts.
template <class... Entry>
struct view_list {
  using settings = std::variant<typename Entry::settings...>;
  template <class... More>
  using settings_and = std::variant<typename Entry::settings..., More...>;  // and of other views
  template <executor X>
  using layout = layout_choice<X, typename Entry::template layout<X>...>;  // of any entry

  /// The layout of the entry that has these settings. Throws as the layout does.
  template <executor X>
  static layout<X> layout_of(const X& exec, const settings& how, const view_target& target) {
    return std::visit([&](const auto& of) { return first_of<X, Entry...>(exec, of, target); }, how);
  }

 private:
  template <executor X, class One, class... Rest, class S>
  static layout<X> first_of(const X& exec, const S& of, const view_target& target) {
    if constexpr (std::is_same_v<S, typename One::settings>) {
      return typename One::template layout<X>(exec, target, of);
    } else {
      return first_of<X, Rest...>(exec, of, target);
    }
  }
};

/// All but subspace, which wraps one of them.
using plain_views = view_list<view_entry<sparse_settings, sparse_layout>,                    //
                              view_entry<dense_settings, dense_layout>,                      //
                              view_entry<lora_settings, lora_layout>,                        //
                              view_entry<lora_b_settings, lora_b_layout>,                    //
                              view_entry<prompt_settings, prompt_layout>,                    //
                              view_entry<prefix_settings, prefix_layout>,                    //
                              view_entry<residual_prompt_settings, residual_prompt_layout>,  //
                              view_entry<scales_settings, scales_layout>,                    //
                              view_entry<hybrid_settings, hybrid_layout>>;
using any_plain_view = plain_views::settings;  // settings of one of them

namespace detail {
/// What a subspace moves by default.
any_plain_view lora_by_default();
}  // namespace detail

/// Settings of `of` are settings of this too; the seed is one for both.
struct subspace_settings {
  static constexpr std::string_view name = "subspace";
  static constexpr std::string_view summary =
      "a few values that move all of another view's at random";
  static constexpr std::string_view paper = "arXiv 1804.08838";
  static constexpr std::string_view cost =
      "4 bytes a value of d, 4 (n + branches n) for the other view's n; n d additions a branch";
  std::string of = "lora";                           // the other view
  index_t dimension = 100;                           // d
  std::uint64_t seed = 0;                            // of P and of the other view
  any_plain_view inner = detail::lora_by_default();  // the other view's settings

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
        [&](auto& other) {
          for_each_setting(other, [&](std::string_view one, auto& value) {
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

using any_view = plain_views::settings_and<subspace_settings>;  // settings of any view

/// Which parts of a target a view reads, and which directions suit it. Settings say what differs from the
/// values here by static members of these names.
struct view_traits {
  bool tunes_places = false;      // target.places, a mask
  bool chooses_tensors = true;    // target.selection
  bool begins_as_tokens = false;  // target.tokens
  bool has_matrices = true;       // among its values: for directions of low rank
};

/// Those of a view; of a subspace those of the view that it moves, but its values are one row.
view_traits traits_of(const any_view& how);

/// The layout of any view but subspace.
template <executor X>
using any_plain_layout = plain_views::layout<X>;
/// The layout of any view.
template <executor X>
using any_layout = layout_choice<X, any_plain_layout<X>, subspace_layout<X, any_plain_layout<X>>>;

/// The layout that settings call for. Throws as the layout does.
template <executor X>
any_layout<X> layout_of(const X& exec, const any_view& how, const view_target& target) {
  return std::visit(
      [&]<class S>(const S& settings) -> any_layout<X> {
        if constexpr (std::is_same_v<S, subspace_settings>) {
          return subspace_layout<X, any_plain_layout<X>>(
              exec, plain_views::layout_of(exec, settings.inner, target),
              {settings.dimension, settings.seed});
        } else {
          return plain_views::layout_of(exec, settings, target);
        }
      },
      how);
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY view_traits traits_of(const any_view& how) {
  return std::visit(
      []<class S>(const S& settings) {
        view_traits out;
        if constexpr (requires { S::tunes_places; }) {
          out.tunes_places = S::tunes_places;
        }
        if constexpr (requires { S::chooses_tensors; }) {
          out.chooses_tensors = S::chooses_tensors;
        }
        if constexpr (requires { S::begins_as_tokens; }) {
          out.begins_as_tokens = S::begins_as_tokens;
        }
        if constexpr (requires { S::has_matrices; }) {
          out.has_matrices = S::has_matrices;
        }
        if constexpr (std::is_same_v<S, subspace_settings>) {
          out = std::visit([](const auto& inner) { return traits_of(any_view(inner)); },
                           settings.inner);
          out.has_matrices = false;
        }
        return out;
      },
      how);
}

namespace detail {
ZOQ_BODY any_plain_view lora_by_default() { return lora_settings{}; }
}  // namespace detail

}  // namespace zoq

#endif
