// One product of floats on the CPU.
// SPDX-License-Identifier: Apache-2.0
#include <vector>
#include <zoq/exec/cpu.hpp>

int main() {
  const std::vector<float> x = {1, 2}, w = {3, 4};
  float y = 0;
  zoq::cpu{}.float_linear({x.data(), {1, 2}}, {w.data(), {1, 2}}, {&y, {1, 1}});
  return y == 11 ? 0 : 1;
}
