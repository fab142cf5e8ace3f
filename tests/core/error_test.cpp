// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/error.hpp"

#include <doctest/doctest.h>

#include <ostream>
#include <stdexcept>
#include <type_traits>

#include "io/temporary_folder.hpp"

using zoq::test::message_of;

namespace {

struct counted {
  int* written;
  friend std::ostream& operator<<(std::ostream& out, const counted& c) {
    ++*c.written;
    return out << "counted";
  }
};

}  // namespace

static_assert(std::is_base_of_v<std::runtime_error, zoq::error>);

TEST_CASE("text: arguments one after another") {
  CHECK(zoq::text("x has ", 575, " columns, ", std::string("w"), " needs ", 0.5) ==
        "x has 575 columns, w needs 0.5");
}

TEST_CASE("fail: throws the arguments as the message") {
  CHECK(message_of([] { zoq::fail("row ", 3, " is empty"); }) == "row 3 is empty");
  CHECK(message_of([] { zoq::fail("a\nb\x1b[2J\x7f"); }) == "a?b?[2J?");  // one line
}

TEST_CASE("require: throws only when the condition fails, and writes no message before") {
  int written = 0;
  zoq::require(true, counted{&written});
  CHECK(written == 0);
  CHECK(message_of([&] { zoq::require(false, "a ", counted{&written}); }) == "a counted");
  CHECK(written == 1);
}
