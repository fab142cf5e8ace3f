// A choice at run time among types that have a name: closed, so it costs one switch, and open to
// new types by one more name in the list.
//
//     using any_shape = std::variant<circle, square>;            // each has a static `name`
//     any_shape s = zoq::choice_named<any_shape>("shape", "square");
//     zoq::names_of<any_shape>();                                // {"circle", "square"}
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "zoq/core/error.hpp"

namespace zoq {

/// The names of a variant's types, in their order.
template <class Variant>
std::vector<std::string> names_of() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return std::vector<std::string>{std::string(std::variant_alternative_t<I, Variant>::name)...};
  }
  (std::make_index_sequence<std::variant_size_v<Variant>>{});
}

/// The name of the type that `of` holds.
template <class... T>
std::string_view name_of(const std::variant<T...>& of) {
  return std::visit([]<class One>(const One&) { return std::string_view(One::name); }, of);
}

/// A default-made value of the type of this name. Throws `error`, naming `what` and the choices,
/// when there is none.
template <class Variant>
Variant choice_named(std::string_view what, std::string_view name) {
  Variant out;
  bool found = false;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (void)((std::variant_alternative_t<I, Variant>::name == name
                ? (out.template emplace<I>(), found = true)
                : false) ||
           ...);
  }
  (std::make_index_sequence<std::variant_size_v<Variant>>{});
  if (!found) {
    std::string known;
    for (const std::string& one : names_of<Variant>()) {
      known += (known.empty() ? "" : ", ") + one;
    }
    fail("unknown ", what, " \"", name, "\": ", known);
  }
  return out;
}

}  // namespace zoq
