// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/function_ref.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace {

int twice(int x) { return 2 * x; }

struct counter {
  int calls = 0;
  int operator()() { return ++calls; }
};

}  // namespace

TEST_CASE("function_ref: what is referred to is called, not a copy of it") {
  counter count;
  const zoq::function_ref<int()> f(count);
  CHECK(f() == 1);
  const zoq::function_ref<int()> copy = f;
  CHECK(copy() == 2);
  CHECK(count.calls == 2);

  int (*pointer)(int) = twice;
  const zoq::function_ref<int(int)> g(pointer);
  pointer = [](int x) { return 3 * x; };
  CHECK(g(5) == 15);
}

TEST_CASE("function_ref: arguments arrive as they were given, results as they are asked for") {
  const auto take = [](std::unique_ptr<int> p, std::string& s) {
    s += std::to_string(*p);
    return *p;
  };
  const zoq::function_ref<double(std::unique_ptr<int>, std::string&)> f(take);
  std::string s = "n = ";
  CHECK(f(std::make_unique<int>(7), s) == 7.0);
  CHECK(s == "n = 7");
  const zoq::function_ref<void(std::unique_ptr<int>, std::string&)> nothing(take);
  nothing(std::make_unique<int>(8), s);
  CHECK(s == "n = 78");
}

TEST_CASE("function_ref: what cannot be called so is no argument") {
  using ref = zoq::function_ref<int(int)>;
  const auto fits = [](long x) { return static_cast<short>(x); };
  const auto wants_text = [](const std::string&) { return 1; };
  CHECK(std::is_constructible_v<ref, decltype(fits)&>);
  CHECK_FALSE(std::is_constructible_v<ref, decltype(wants_text)&>);
  CHECK_FALSE(std::is_constructible_v<ref, counter&>);
}
