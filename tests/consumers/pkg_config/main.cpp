// A product of whole numbers by the compiled kernels, and a text by the headers of zoq-io.
// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>
#include <vector>
#include <zoq/exec/cpu.hpp>
#include <zoq/io/json.hpp>

#ifndef ZOQ_COMPILED_KERNELS
#error "zoq-kernels brings no definition"
#endif

int main() {
  const std::vector<float> x = {1, 2}, w = {3, 4};
  float y = 0;
  zoq::cpu{}.float_linear({x.data(), {1, 2}}, {w.data(), {1, 2}}, {&y, {1, 1}});
  return y == 11 && zoq::parse_json(R"({"a": 1})", "text")["a"].get<int>() == 1 ? 0 : 1;
}
