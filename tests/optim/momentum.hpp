// An optimizer for tests: it keeps a state of one float a value.
//
//     velocity <- keep * velocity + g;   w <- w - rate * velocity
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/optim/optimizer.hpp"

namespace zoq::test {

struct momentum {
  static constexpr std::string_view name = "momentum";
  static constexpr int state_floats = 1;
  static constexpr bool needs_norm = false;
  float rate = 0.01f, keep = 0.9f;

  struct rule {
    float rate, keep;
    float operator()(float value, float gradient, float* velocity) const {
      *velocity = keep * *velocity + gradient;
      return value - rate * *velocity;
    }
  };
  [[nodiscard]] rule at(const step_facts& facts) const {
    return {rate * static_cast<float>(facts.schedule), keep};
  }
};

}  // namespace zoq::test
