// All of zoq in two files of one program: no function may be defined twice or be missing, and both
// must compute the same.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>
#include <zoq/io.hpp>
#include <zoq/zoq.hpp>

std::vector<float> product_of_other_file(const std::vector<float>& x, const std::vector<float>& w);

namespace {

// y[o] = sum_c x[c] w[o, c].
std::vector<float> product(const std::vector<float>& x, const std::vector<float>& w) {
  const auto columns = static_cast<zoq::index_t>(x.size());
  const auto outputs = static_cast<zoq::index_t>(w.size()) / columns;
  std::vector<float> y(static_cast<std::size_t>(outputs));
  const zoq::cpu exec;
  exec.float_linear({x.data(), {1, columns}}, {w.data(), {outputs, columns}},
                    {y.data(), {1, outputs}});
  return y;
}

}  // namespace

int main() {
  const std::vector<float> x = {1, 2, 3}, w = {1, 0, 0, 0, 1, 0, 1, 1, 1};
  const std::vector<float> y = product(x, w), wanted = {1, 2, 6};
  if (y != wanted || product_of_other_file(x, w) != wanted) {
    std::fprintf(stderr, "a product of whole numbers is wrong\n");
    return 1;
  }
  return zoq::parse_json(R"({"a": 1})", "text")["a"].get<int>() == 1 ? 0 : 1;
}
