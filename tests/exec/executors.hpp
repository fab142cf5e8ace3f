// Every CPU executor that a fast path must agree with serial on: all instruction sets of this
// machine, several numbers of threads.
//
//     zoq::test::for_each_cpu([](const zoq::cpu& exec) { ... });
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "zoq/exec/compute.hpp"
#include "zoq/exec/cpu.hpp"

namespace zoq::test {

template <class F>
void for_each_instruction_set(F&& f) {
  for (const auto set : {instruction_set::portable, instruction_set::avx2, instruction_set::avx512,
                         instruction_set::amx}) {
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

/// f(options) for every supported instruction set and compute policy.
template <class F>
void for_each_policy(F&& f) {
  for_each_instruction_set([&](instruction_set set) {
    for (const compute products : all_computes) {
      const std::string what = text(name_of(set), ", ", name_of(products));
      CAPTURE(what);
      f(cpu_options{.threads = 1, .kernels = set, .products = products});
    }
  });
}

/// The same executor with other threads.
inline cpu_options with_threads(cpu_options options, int threads) {
  options.threads = threads;
  return options;
}

}  // namespace zoq::test
