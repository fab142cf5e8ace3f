// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/optimizer.hpp"

#include <doctest/doctest.h>

#include <memory>

#include "zoq/optim/adalomo.hpp"
#include "zoq/optim/momentum.hpp"

namespace {

struct wide_rule {  // values are floats: a rule in double would round where it should not
  static constexpr const char* name = "wide_rule";
  static constexpr int state_floats = 0;
  static constexpr bool needs_norm = false;
  struct rule {
    double operator()(float value, float, float*) const { return static_cast<double>(value); }
  };
  [[nodiscard]] static rule at(const zoq::step_facts&) { return {}; }
};

struct owns_memory : zoq::momentum {  // state is the loop's, so that checkpoints have it
  std::shared_ptr<float> velocity;
};

}  // namespace

static_assert(zoq::optimizer<zoq::momentum>);
static_assert(!zoq::optimizer<wide_rule>);
static_assert(!zoq::optimizer<owns_memory>);
static_assert(!zoq::optimizer<int>);
static_assert(zoq::elementwise_optimizer<zoq::momentum>);
static_assert(zoq::whole_optimizer<zoq::adalomo>);

TEST_CASE("optimizer: a rule sees value, gradient and its own state") {
  const auto rule = zoq::momentum{.rate = 0.5, .beta = 0.5}.at({});
  float velocity = 0;
  CHECK(rule(1, 1, &velocity) == 0.5f);
  CHECK(velocity == 1);
  CHECK(rule(0.5f, 1, &velocity) == -0.25f);
  CHECK(velocity == 1.5f);
}
