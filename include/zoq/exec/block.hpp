// Work of a block of threads that share memory, written once for devices and for hosts.
//
//     struct task {
//       static constexpr int threads = 128;
//       struct shared { float line[128]; };               // memory of the whole block
//       struct mine { float sum = 0; };                   // one for each thread
//       template <class Block>
//       ZOQ_HD void operator()(Block& block) const {
//         auto own = block.template local<mine>();
//         block.each([&](int t) { own[t].sum += ...; block.shared().line[t] = own[t].sum; });
//         block.each([&](int t) { ... block.shared().line[127 - t] ... });
//       }
//     };
//     exec.run_blocks(blocks, task{...});                 // a device: one block of threads each
//     exec.for_each(blocks, host_blocks<task>{{...}});    // a host: the threads one after another
//
// `each` calls its body for every thread of the block, at the same time on a device; all have ended
// before it returns. So a body reads what other threads wrote in earlier bodies, and writes what no other
// thread reads or writes in the same one. What stands outside of `each` runs once on a host and in every
// thread on a device: it reads nothing that the block writes later, writes nothing but its own variables,
// and goes the same way in all threads. `local` gives every thread an object of its own, zeroed or as its
// initialisers say, that lives until the block ends: in registers where its arrays are indexed by
// constants, as in loops under ZOQ_UNROLL_BLOCK.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <type_traits>

#include "zoq/core/config.hpp"

/// Before a loop of few and constant turns. Compilers for devices and for hosts spell it
/// differently, and nvcc, where it prepares code for the host, knows neither.
#if defined(__CUDA_ARCH__)
#define ZOQ_UNROLL_BLOCK _Pragma("unroll")
#elif defined(__CUDACC__)
#define ZOQ_UNROLL_BLOCK
#else
#define ZOQ_UNROLL_BLOCK _Pragma("GCC unroll 16")
#endif

namespace zoq {

/// Four floats that are read and written at once.
struct alignas(16) floats4 {
  float at[4];  // neighbours in memory
};

/// at[0] <- the sum of at[t] over the block's threads, as a balanced tree. Their number is a power of two.
template <class Block, class T, std::size_t Threads>
ZOQ_HD void sum_of_threads(Block& block, T (&at)[Threads]) {
  static_assert((Threads & (Threads - 1)) == 0);
  for (int half = static_cast<int>(Threads / 2); half > 0; half /= 2) {
    block.each([&](int t) {
      if (t < half) {
        at[t] += at[t + half];
      }
    });
  }
}

/// Rows 0 to rows - 1, each the work of a block of threads where the executor has these, else of an item.
template <class X, class Block, class Row>
void for_each_row(const X& exec, index_t rows, const Block& block, const Row& row) {
  if constexpr (requires { exec.run_blocks(rows, block); }) {
    exec.run_blocks(rows, block);
  } else {
    exec.for_each(rows, row);
  }
}

/// A block whose threads run one after another: any host executor runs it.
template <class Task>
class host_block {
  static constexpr int threads = Task::threads;

 public:
  /// Of block `index`; `memory` serves one block at a time.
  host_block(index_t index, typename Task::shared& memory) : index_(index), memory_(memory) {}

  [[nodiscard]] index_t index() const { return index_; }                   // of the block
  [[nodiscard]] typename Task::shared& shared() const { return memory_; }  // of all threads

  /// f(t) for every thread t, one after another.
  template <class F>
  void each(const F& f) const {
    for (int t = 0; t < threads; ++t) {
      f(t);
    }
  }

  /// An object for each thread.
  template <class State>
  struct of_threads {
    State at[static_cast<std::size_t>(threads)] = {};  // by thread
    State& operator[](int t) { return at[t]; }         // thread t's
  };
  /// A State for each thread, zeroed or as its initialisers say.
  template <class State>
  [[nodiscard]] of_threads<State> local() const {
    return {};
  }

 private:
  index_t index_;
  typename Task::shared& memory_;
};

/// Block `i` of a task on a host, for `for_each`. Takes the task's shared memory from the stack.
template <class Task>
struct host_blocks {
  static_assert(std::is_trivially_copyable_v<Task>, "a task is copied to the device as bytes");
  Task task;  // of every block

  void operator()(index_t i) const {
    typename Task::shared memory;
    host_block<Task> block(i, memory);
    task(block);
  }
};

}  // namespace zoq
