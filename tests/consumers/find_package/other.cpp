// SPDX-License-Identifier: Apache-2.0
#include <vector>
#include <zoq/io.hpp>
#include <zoq/zoq.hpp>

std::vector<float> product_of_other_file(const std::vector<float>& x, const std::vector<float>& w);

// y[o] = sum_c x[c] w[o, c].
std::vector<float> product_of_other_file(const std::vector<float>& x, const std::vector<float>& w) {
  const auto columns = static_cast<zoq::index_t>(x.size());
  const auto outputs = static_cast<zoq::index_t>(w.size()) / columns;
  std::vector<float> y(static_cast<std::size_t>(outputs));
  const zoq::cpu exec;
  exec.float_linear({x.data(), {1, columns}}, {w.data(), {outputs, columns}},
                    {y.data(), {1, outputs}});
  return y;
}
