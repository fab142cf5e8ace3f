// Serial, with what devices run in place of its own: tasks of blocks of threads, and the forms of
// operations for memory that is not the host's (though it is).
//
//     zoq::test::block_executor exec;
//     zoq::attention(exec, q, k, v, rows, layout, out);     // exec/attention_block.hpp
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/exec/attention_block.hpp"
#include "zoq/exec/block.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq::test {

struct block_space : host_space {
  static constexpr bool on_host = false;
};

struct block_executor : serial {
  using space = block_space;
  template <class T>
  [[nodiscard]] buffer<T, space> allocate(index_t n) const {
    return buffer<T, space>(n);
  }
  template <class Task>
  void run_blocks(index_t blocks, const Task& task) const {
    for_each(blocks, host_blocks<Task>{task});
  }
  template <class Task>
  void attention(const Task& task) const {
    with_attention_block(task, [&](const auto& block) { run_blocks(block.blocks(), block); });
  }
};
static_assert(executor<block_executor>);

}  // namespace zoq::test
