// SPDX-License-Identifier: Apache-2.0
#include "guarded/memory.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <new>
#include <vector>

namespace zoq::test {

arena& host_arena() {
  static arena* const one = new (std::malloc(sizeof(arena))) arena;
  return *one;
}
arena& device_arena() {
  static arena* const one = new (std::malloc(sizeof(arena))) arena;
  return *one;
}

}  // namespace zoq::test

void* operator new(std::size_t bytes) { return zoq::test::host_arena().take(bytes); }
void* operator new[](std::size_t bytes) { return zoq::test::host_arena().take(bytes); }
void operator delete(void* p) noexcept {
  if (p != nullptr) {
    zoq::test::host_arena().give_back(p);
  }
}
void operator delete[](void* p) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete[](void* p, std::size_t) noexcept { operator delete(p); }

#ifdef ZOQ_TEST_OMP
using namespace zoq::test;
using zoq::index_t;

namespace {

struct write_twice {
  const float* from;
  float* to;
  void operator()(index_t i) const { to[i] = 2 * from[i]; }
};

}  // namespace

TEST_CASE("guarded: each side keeps to its memory, or the process ends") {
  const guarded exec;
  const std::vector<float> host = {1, 2, 3};
  const auto device = exec.allocate<float>(3);
  const auto other = exec.allocate<float>(3);
  CHECK(host_arena().holds(host.data()));
  CHECK(device_arena().holds(device.data()));
  exec.upload(host.data(), 3, device.data());
  exec.for_each(3, write_twice{device.data(), other.data()});
  std::vector<float> back(3);
  exec.download(other.data(), 3, back.data());
  CHECK(back == std::vector<float>{2, 4, 6});

  CHECK(exit_code_of([] {}) == 0);
  const auto code = [](const auto& f) {
    return exit_code_of([&] {
      name_wrong_accesses();
      f();
    });
  };
  CHECK(code([&] { exec.for_each(3, write_twice{device.data(), other.data()}); }) == 0);
  CHECK(code([&] { exec.for_each(3, write_twice{host.data(), other.data()}); }) == wrong_access);
  CHECK(code([&] { exec.for_each(3, write_twice{device.data(), back.data()}); }) == wrong_access);
  CHECK(code([&] { back[0] = *static_cast<volatile float*>(device.data()); }) == wrong_access);
  CHECK(code([&] { *static_cast<volatile float*>(device.data()) = 1; }) == wrong_access);
}
#endif
