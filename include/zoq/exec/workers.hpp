// The threads of the CPU executor: work on [0, n) cut into runs.
//
//     zoq::detail::workers all(2);
//     all.split(n, 16, [&](index_t begin, index_t end) { ... });
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "zoq/core/config.hpp"
#include "zoq/core/function_ref.hpp"

namespace zoq::detail {

class workers {
 public:
  /// `count` threads; 0: one for each core.
  explicit workers(int count);
  workers(workers&&) noexcept = default;
  workers& operator=(workers&&) noexcept = default;

  [[nodiscard]] int count() const { return count_; }

  /// body(begin, end) for runs that cover [0, n) once, of about `grain`, in any order and at the same
  /// time. What fits into one run stays on this thread.
  void split(index_t n, index_t grain, function_ref<void(index_t, index_t)> body) const;

 private:
  struct arena;
  int count_;
  std::shared_ptr<arena> arena_;
};

}  // namespace zoq::detail

#if ZOQ_BODIES

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstddef>
#include <thread>

namespace zoq::detail {

struct workers::arena : tbb::task_arena {
  using tbb::task_arena::task_arena;
};

ZOQ_BODY workers::workers(int count)
    : count_(count != 0 ? count
                        : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))),
      arena_(std::make_shared<arena>(count_)) {}

ZOQ_BODY void workers::split(index_t n, index_t grain,
                             function_ref<void(index_t, index_t)> body) const {
  if (count_ == 1 || n <= grain) {
    if (n != 0) {
      body(0, n);
    }
    return;
  }
  arena_->execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<index_t>(0, n, static_cast<std::size_t>(grain)),
        [&](const tbb::blocked_range<index_t>& range) { body(range.begin(), range.end()); });
  });
}

}  // namespace zoq::detail

#endif
