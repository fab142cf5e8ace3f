// A reference to something that can be called, whatever its type: for functions that would otherwise be
// compiled once for every caller. (C++26 has std::function_ref.)
//
//     void repeat(int n, zoq::function_ref<void(int)> body);
//     repeat(3, [&](int i) { sum += i; });
//
// Owns nothing: what it refers to must live as long as it is called. A call costs one jump.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace zoq {

template <class Signature>
class function_ref;

template <class Result, class... Args>
class function_ref<Result(Args...)> {
 public:
  /// Refers to f, which must live as long as this is called.
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> &&
           std::is_object_v<std::remove_reference_t<F>> &&
           std::is_invocable_r_v<Result, F&, Args...>)
      function_ref(F&& f)  // NOLINT(google-explicit-constructor): a lambda is passed as it is
      : of_(const_cast<void*>(static_cast<const volatile void*>(std::addressof(f)))),
        call_([](void* of, Args... args) -> Result {
          return static_cast<Result>(
              (*static_cast<std::remove_reference_t<F>*>(of))(std::forward<Args>(args)...));
        }) {}

  /// What f returns; throws what f throws.
  Result operator()(Args... args) const { return call_(of_, std::forward<Args>(args)...); }

 private:
  void* of_;
  Result (*call_)(void*, Args...);
};

}  // namespace zoq
