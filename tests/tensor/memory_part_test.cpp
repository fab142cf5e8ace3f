// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/memory_part.hpp"

#include <doctest/doctest.h>

#include "io/temporary_folder.hpp"

using zoq::index_t;
using zoq::memory_part;
using zoq::test::message_of;

TEST_CASE("memory_part: buffer_bytes is what a buffer takes") {
  for (const index_t n : {0, 1, 15, 16, 17, 1000}) {
    CHECK(zoq::buffer_bytes<float>(n) == zoq::buffer<float>(n).byte_count());
    CHECK(zoq::buffer_bytes<double>(n) == zoq::buffer<double>(n).byte_count());
    CHECK(zoq::buffer_bytes<char>(n) == zoq::buffer<char>(n).byte_count());
  }
}

TEST_CASE("memory_part: sums, parts by name, and growth part by part") {
  std::vector<memory_part> parts = {{"a", 10, "x"}, {"b", 3, "x"}};
  CHECK(zoq::bytes_of(parts) == 13);
  CHECK(zoq::bytes_of(parts, "b") == 3);
  CHECK(message_of([&] { static_cast<void>(zoq::bytes_of(parts, "c")); }) ==
        "memory: there is no part \"c\"");
  zoq::grow(parts, std::vector<memory_part>{{"a", 4, "y"}, {"b", 5, "y"}});
  CHECK(parts[0].bytes == 10);
  CHECK(parts[0].what == "x");
  CHECK(parts[1].bytes == 5);
  CHECK(parts[1].what == "y");
  CHECK(message_of([&] {
          zoq::grow(parts, std::vector<memory_part>{{"a", 4, ""}});
        }) == "memory: 2 and 1 parts");
}
