// An optimizer without the rule of a value.
// wanted: optimizer
// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/serial.hpp"
#include "zoq/optim/apply.hpp"

struct idle {
  static constexpr std::string_view name = "idle";
  static constexpr int state_floats = 0;
  static constexpr bool needs_norm = false;
};

void use(const zoq::value_order& order, float* values) {
  zoq::apply_optimizer(zoq::serial{}, idle{}, order, {}, values, nullptr, values);
}
