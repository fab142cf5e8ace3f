// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/buffer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "io/temporary_folder.hpp"

using zoq::buffer;
using zoq::index_t;
using zoq::test::message_of;

namespace {

// Host memory that counts what is held.
struct counting_space {
  static inline std::size_t held = 0, peak = 0, last = 0;
  static void* allocate(std::size_t bytes) {
    last = bytes;
    held += bytes;
    peak = std::max(peak, held);
    return zoq::host_space::allocate(bytes);
  }
  static void release(void* p) noexcept {
    held -= last;  // the tests below hold one buffer at a time
    zoq::host_space::release(p);
  }
};

}  // namespace

static_assert(!std::is_copy_constructible_v<buffer<float>>);
static_assert(!std::is_copy_assignable_v<buffer<float>>);
static_assert(std::is_nothrow_move_constructible_v<buffer<float>>);
static_assert(std::is_nothrow_move_assignable_v<buffer<float>>);

TEST_CASE_TEMPLATE("buffer: aligned, zeroed, and counted with its rounding", T, char, float, double,
                   std::int32_t) {
  for (const index_t n : {1, 15, 16, 17, 1000}) {
    const buffer<T> x(n);
    CHECK(x.size() == n);
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
    CHECK(std::all_of(x.data(), x.data() + n, [](T v) { return v == T{}; }));
    const auto bytes = n * static_cast<index_t>(sizeof(T));
    CHECK(x.byte_count() >= bytes);
    CHECK(x.byte_count() < bytes + 64);
    CHECK(x.byte_count() % 64 == 0);
  }
}

TEST_CASE("buffer: none of nothing") {
  const buffer<float> made;
  CHECK(made.data() == nullptr);
  CHECK(made.size() == 0);
  CHECK(made.byte_count() == 0);
  CHECK(buffer<float>(0).data() == nullptr);
}

TEST_CASE("buffer: moving hands over, and leaves nothing behind") {
  buffer<float> a(5);
  float* const at = a.data();
  buffer<float> b(std::move(a));
  CHECK(b.data() == at);
  CHECK(b.size() == 5);
  CHECK(a.data() == nullptr);  // NOLINT(bugprone-use-after-move): this is promised
  CHECK(a.size() == 0);
  buffer<float> c(3);
  c = std::move(b);
  CHECK(c.data() == at);
  CHECK(c.size() == 5);
  CHECK(b.size() == 0);  // NOLINT(bugprone-use-after-move)
}

TEST_CASE("buffer: views are bounded") {
  const buffer<float> x(12);
  const auto whole = x.view(3, 4);
  CHECK(whole.data == x.data());
  CHECK(whole.shape[0] == 3);
  CHECK(whole.shape[1] == 4);
  CHECK(x.view(2, 2).size() == 4);
  CHECK(message_of([&] { (void)x.view(13); }) == "buffer: a view of 13 elements of 12");
  CHECK(message_of([&] { (void)x.view(5, 3); }) == "buffer: a view of 15 elements of 12");
}

TEST_CASE("buffer: sizes that cannot be are refused") {
  CHECK(message_of([] { buffer<float>(-1); }) == "buffer: cannot hold -1 elements of 4 bytes");
  CHECK(message_of([] { buffer<float>(index_t{1} << 62); }) ==
        "buffer: cannot hold 4611686018427387904 elements of 4 bytes");
}

TEST_CASE("buffer: memory comes from the space and returns to it") {
  counting_space::held = counting_space::peak = 0;
  {
    const buffer<float, counting_space> x(100);
    CHECK(static_cast<index_t>(counting_space::held) == x.byte_count());
    CHECK(counting_space::held == 448);  // 400 bytes in whole lines of 64
  }
  CHECK(counting_space::held == 0);
}

TEST_CASE("buffer: reserve grows only, and gives back before it takes") {
  counting_space::held = counting_space::peak = 0;
  buffer<float, counting_space> x(16);
  const float* const at = x.data();
  x.reserve(10);
  CHECK(x.data() == at);
  CHECK(x.size() == 16);
  x.reserve(64);
  CHECK(x.size() == 64);
  CHECK(counting_space::held == 256);
  CHECK(counting_space::peak == 256);  // never both at once
}
