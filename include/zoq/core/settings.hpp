// Policies as text: a name and its settings, for command lines and records of runs.
//
//     struct adam {
//       static constexpr std::string_view name = "adam";
//       double rate = 1e-3, beta1 = 0.9;
//       template <class Self, class F>
//       static void settings(Self& self, F&& f) { f("rate", self.rate); f("beta1", self.beta1); }
//     };
//     auto any = zoq::policy_named<any_optimizer::list>("optimizer", "adam:rate=0.01");
//     zoq::policy_text(any);                        // "adam:rate=0.01,beta1=0.9"
//
// Text and value give each other back: numbers are written with the fewest digits that do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include "zoq/core/choice.hpp"
#include "zoq/core/error.hpp"

namespace zoq {

namespace detail {

struct any_setting {
  template <class T>
  void operator()(std::string_view, T&&) const {}
};

template <class T>
std::string setting_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_arithmetic_v<T>) {
    char out[64];
    return {out, std::to_chars(out, out + sizeof out, value).ptr};
  } else {
    return std::string(value);
  }
}

template <class T>
bool read_setting(std::string_view text, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = text == "true";
    return value || text == "false";
  } else if constexpr (std::is_arithmetic_v<T>) {
    const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
    return wrong == std::errc() && end == text.data() + text.size();
  } else {
    value = text;
    return true;
  }
}

template <class T>
constexpr const char* kind_of_setting() {
  return std::is_same_v<T, bool>       ? "true or false"
         : std::is_floating_point_v<T> ? "a number"
         : std::is_arithmetic_v<T>     ? "a whole number"
                                       : "a text";
}

}  // namespace detail

/// A policy that names its settings.
template <class P>
concept has_settings = requires(P& policy) {
  P::settings(policy, detail::any_setting{});
};

/// Calls f(name, member) for each setting of a policy, in their order; for none when it has none.
template <class P, class F>
void for_each_setting(P& policy, F&& f) {
  if constexpr (has_settings<P>) {
    P::settings(policy, f);
  }
}

/// True when the policy has a setting of this name.
template <class P>
bool has_setting(const P& policy, std::string_view name) {
  bool found = false;
  for_each_setting(policy,
                   [&](std::string_view one, const auto&) { found = found || one == name; });
  return found;
}

/// Sets one setting from text. Throws, naming `what` and its settings, when there is none of this name or
/// the text is no value of its type.
template <class P>
void set_setting(P& policy, std::string_view what, std::string_view name, std::string_view value) {
  bool found = false;
  std::string known;
  for_each_setting(policy, [&]<class T>(std::string_view one, T& member) {
    known += (known.empty() ? "" : ", ") + std::string(one);
    if (one == name) {
      found = true;
      require(detail::read_setting(value, member), what, ": ", name, " is \"", value, "\", wanted ",
              detail::kind_of_setting<T>());
    }
  });
  require(found, what, " has no setting \"", name,
          "\": ", known.empty() ? std::string("it has none") : known);
}

/// Sets what "setting=value,setting=value" says; an empty text sets nothing. Throws as set_setting does,
/// and on a setting that comes twice.
template <class P>
void set_settings(P& policy, std::string_view what, std::string_view text) {
  std::string seen = ",";
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view one = text.substr(0, comma);
    const std::size_t equals = one.find('=');
    require(equals != one.npos, what, ": \"", one, "\" is no setting=value");
    const std::string_view name = one.substr(0, equals);
    const std::string entry = std::string(",").append(name).append(",");
    require(seen.find(entry) == seen.npos, what, ": ", name, " is given twice");
    seen += entry.substr(1);
    set_setting(policy, what, name, one.substr(equals + 1));
    text = comma == text.npos ? std::string_view() : text.substr(comma + 1);
  }
}

/// The policy that a text names: "name" or "name:setting=value,setting=value", the others as they are by
/// default. `what` is used in messages ("optimizer"). Throws on an unknown name, and as set_settings.
template <class Variant>
Variant policy_named(std::string_view what, std::string_view text) {
  const std::size_t colon = text.find(':');
  Variant out = choice_named<Variant>(what, text.substr(0, colon));
  if (colon != text.npos) {
    std::visit(
        [&]<class P>(P& policy) {
          set_settings(policy, std::string(what).append(" ").append(P::name),
                       text.substr(colon + 1));
        },
        out);
  }
  return out;
}

/// The text that names a policy with all of its settings.
template <class P>
std::string policy_text(const P& policy) {
  std::string out(P::name);
  char before = ':';
  for_each_setting(policy, [&](std::string_view name, const auto& value) {
    out.append(1, std::exchange(before, ',')).append(name).append("=");
    out += detail::setting_text(value);
  });
  return out;
}
/// The same of the policy that a variant holds.
template <class... P>
std::string policy_text(const std::variant<P...>& policy) {
  return std::visit([](const auto& one) { return policy_text(one); }, policy);
}

}  // namespace zoq
