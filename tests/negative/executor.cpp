// An executor that has no loops.
// wanted: executor
// SPDX-License-Identifier: Apache-2.0
#include "zoq/tensor/executor.hpp"
#include "zoq/optim/apply.hpp"
#include "zoq/optim/optimizers.hpp"

struct loopless {
  static constexpr std::string_view name = "loopless";
  using space = zoq::host_space;
};

void use(const zoq::value_order& order, float* values) {
  zoq::apply_optimizer(loopless{}, zoq::sgd{}, order, {}, values, nullptr, values);
}
