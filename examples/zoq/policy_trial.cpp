// SPDX-License-Identifier: Apache-2.0
#include "policy_trial.hpp"

#include <span>
#include <vector>
#include <zoq/exec/serial.hpp>
#include <zoq/train/minimize.hpp>
#include <zoq/train/step.hpp>

#include "command.hpp"

namespace zoq::cli {

namespace {

void step_with(const any_estimator::list& estimator, const any_optimizer::list& optimizer,
               const any_direction& direction, const any_schedule& schedule) {
  const serial exec;
  const extent matrix{0, 4, 4};
  std::vector<float> values(16, 1.0f);
  const auto squares = [](std::span<const float> x) {
    double sum = 0;
    for (const float one : x) {
      sum += static_cast<double>(one) * static_cast<double>(one);
    }
    return sum;
  };
  try {
    minimize(exec, values, squares, any_estimator(estimator), any_optimizer(optimizer),
             {.steps = 1, .direction = direction, .schedule = schedule}, {&matrix, 1});
  } catch (const value_error&) {
    // A rate that is too large for these values: no policy refuses it, and a run says what came of it.
  }
}

}  // namespace

void try_policies(const any_estimator::list& estimator, const any_optimizer::list& optimizer,
                  const any_direction& direction, const any_schedule& schedule) {
  from_option("--estimator", [&] { step_with(estimator, sgd{}, gaussian{}, constant{}); });
  from_option("--optimizer", [&] { step_with(spsa{}, optimizer, gaussian{}, constant{}); });
  from_option("--direction", [&] { step_with(spsa{}, sgd{}, direction, constant{}); });
  from_option("--schedule", [&] { step_with(spsa{}, sgd{}, gaussian{}, schedule); });
}

}  // namespace zoq::cli
