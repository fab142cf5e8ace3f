// Every CPU executor that a fast path must agree with serial on: all instruction sets of this
// machine, several numbers of threads.
//
//     zoq::test::for_each_cpu([](const zoq::cpu& exec) { ... });
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "zoq/exec/cpu.hpp"

namespace zoq::test {

template <class F>
void for_each_instruction_set(F&& f) {
  for (const auto set :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    if (supports(set)) {
      f(set);
    }
  }
}

/// f(exec) for every supported instruction set with 1, 2, 3 and 5 threads: fewer and more than
/// there are cores.
template <class F>
void for_each_cpu(F&& f) {
  for_each_instruction_set([&](instruction_set set) {
    for (const int threads : {1, 2, 3, 5}) {
      const std::string what = text(name_of(set), ", ", threads, " threads");
      CAPTURE(what);
      f(cpu{{.threads = threads, .kernels = set}});
    }
  });
}

}  // namespace zoq::test
