// SPDX-License-Identifier: Apache-2.0
// The device's tests. Without a device there is nothing to test: exit code 77, which ctest calls skipped.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

bool has_device();  // operations_test.cu

int main(int argc, char** argv) {
  if (!has_device()) {
    std::puts("no CUDA device: skipped");
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
