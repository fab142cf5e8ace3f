// Memory as a device has it: what the host allocates, a loop of the executor cannot read; what the
// executor allocates, the host cannot read. Either ends the process with a message.
//
//     zoq::test::guarded exec;              // the devices' executor template on such memory
//     zoq::test::exit_code_of([] { ... });  // of a child process that does this
//
// All of `new` lies in guarded pages (memory_test.cpp); a stack and what `malloc` gives do not, so
// a pointer to those in a loop is not found. One thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq::test {

/// Pages of their own, handed out in sizes of powers of two and used again.
class arena {
 public:
  static constexpr std::size_t reserved = std::size_t{1} << 33;  // of addresses, not of memory

  arena()
      : base_(static_cast<std::byte*>(::mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    if (base_ == MAP_FAILED) {
      std::abort();
    }
  }

  void* take(std::size_t bytes) {
    const std::size_t needed = std::bit_ceil(bytes + header);
    const auto size_class = static_cast<std::size_t>(std::countr_zero(needed));
    std::byte* at = free_[size_class];
    if (at != nullptr) {
      std::memcpy(&free_[size_class], at, sizeof at);
    } else {
      if (used_ + needed > reserved) {
        throw std::bad_alloc();
      }
      at = base_ + used_;
      used_ += needed;
    }
    std::memcpy(at + sizeof(void*), &size_class, sizeof size_class);
    return at + header;
  }
  void give_back(void* p) {
    std::byte* at = static_cast<std::byte*>(p) - header;
    std::size_t size_class = 0;
    std::memcpy(&size_class, at + sizeof(void*), sizeof size_class);
    std::memcpy(at, &free_[size_class], sizeof at);
    free_[size_class] = at;
  }

  void open() { protect(PROT_READ | PROT_WRITE); }
  void close() { protect(PROT_NONE); }
  [[nodiscard]] bool holds(const void* p) const { return p >= base_ && p < base_ + reserved; }

 private:
  static constexpr std::size_t header = 64;  // keeps what is handed out aligned

  void protect(int how) {
    constexpr std::size_t page = 4096;
    if (used_ != 0 && ::mprotect(base_, (used_ + page - 1) / page * page, how) != 0) {
      std::abort();
    }
  }

  std::byte* base_;
  std::size_t used_ = 0;
  std::array<std::byte*, 64> free_{};
};

/// Of `new`, and of the device. Never destroyed: static objects give back after main.
arena& host_arena();
arena& device_arena();

inline constexpr int wrong_access = 77;  // exit code

/// The device's pages as the host sees them: closed, but in these.
class copying {  // upload, download, allocation: both sides are open
 public:
  copying() { device_arena().open(); }
  ~copying() { device_arena().close(); }
  copying(const copying&) = delete;
  copying& operator=(const copying&) = delete;
};
class running {  // a loop of the device: only its own side is open
 public:
  running() {
    device_arena().open();
    host_arena().close();
  }
  ~running() {
    host_arena().open();
    device_arena().close();
  }
  running(const running&) = delete;
  running& operator=(const running&) = delete;
};

struct guarded_space {
  static void* allocate(std::size_t bytes) {
    const copying both;
    return std::memset(device_arena().take(bytes), 0, bytes);
  }
  static void release(void* p) noexcept {
    const copying both;
    device_arena().give_back(p);
  }
};

/// Ends the process on a wrong access, saying whose memory it was.
inline void name_wrong_accesses() {
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    const std::string_view what =
        device_arena().holds(info->si_addr) ? "guarded: the host reads or writes device memory\n"
        : host_arena().holds(info->si_addr) ? "guarded: a loop reads or writes the host's memory\n"
                                            : "guarded: segmentation fault\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, what.data(), what.size());
    ::_exit(wrong_access);
  };
  ::sigaction(SIGSEGV, &action, nullptr);
}

/// The exit code of a child process that runs f; 0 when f returns.
template <class F>
int exit_code_of(const F& f) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(STDERR_FILENO);
    f();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace zoq::test

#ifdef ZOQ_TEST_OMP
#include <thrust/system/cpp/execution_policy.h>

#include "zoq/exec/omp.hpp"
#include "zoq/exec/thrust_executor.hpp"

namespace zoq::test {

/// Lasts as long as the call that it is an argument of.
struct guarded_policy : thrust::cpp::execution_policy<guarded_policy> {
  running loop;
};

struct guarded_back {
  static constexpr std::string_view name = "guarded";
  using space = guarded_space;
  struct options {
    compute products = compute::f32;
    index_t slice_bytes = 4096;  // a few rows: several slices of a tiny model's matrices
  };

  explicit guarded_back(const options&) {}

  [[nodiscard]] static auto policy() { return guarded_policy{}; }
  static void upload(const void* host, index_t bytes, void* here) {
    const copying both;
    std::memcpy(here, host, static_cast<std::size_t>(bytes));
  }
  static void download(const void* here, index_t bytes, void* host) {
    const copying both;
    std::memcpy(host, here, static_cast<std::size_t>(bytes));
  }
  template <class T>
  static void multiply(const matrix_product<T>& product) {
    const zoq::detail::multiply_tile<T> tile{product};
    const running loop;
    for (index_t i = 0; i < tile.items(); ++i) {
      tile(i);
    }
  }
};
using guarded = thrust_executor<guarded_back>;
static_assert(executor<guarded>);

}  // namespace zoq::test
#endif
