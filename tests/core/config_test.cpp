// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/config.hpp"

#include <doctest/doctest.h>

#include <type_traits>

static_assert(std::is_signed_v<zoq::index_t> && sizeof(zoq::index_t) == 8);
static_assert(std::is_unsigned_v<zoq::seed_t> && sizeof(zoq::seed_t) == 8);
static_assert(std::is_signed_v<zoq::token_t> && sizeof(zoq::token_t) == 4);  // as files store them

ZOQ_HD constexpr int marked(int x) { return x + 1; }

TEST_CASE("config: ZOQ_HD stands before any function") { CHECK(marked(1) == 2); }
