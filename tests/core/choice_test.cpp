// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/choice.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/temporary_folder.hpp"

namespace {
struct circle {
  static constexpr std::string_view name = "circle";
  int radius = 1;
};
struct square {
  static constexpr std::string_view name = "square";
  int side = 2;
};
using any_shape = std::variant<circle, square>;
}  // namespace

TEST_CASE("choice: by name, with the defaults of the chosen type") {
  const auto s = zoq::choice_named<any_shape>("shape", "square");
  REQUIRE(std::holds_alternative<square>(s));
  CHECK(std::get<square>(s).side == 2);
  CHECK(zoq::name_of(s) == "square");
  CHECK(zoq::name_of(zoq::choice_named<any_shape>("shape", "circle")) == "circle");
  CHECK(zoq::names_of<any_shape>() == std::vector<std::string>{"circle", "square"});
}

TEST_CASE("choice: an unknown name is an error that lists the choices") {
  CHECK(zoq::test::message_of([] { zoq::choice_named<any_shape>("shape", "cube"); }) ==
        "unknown shape \"cube\": circle, square");
}
