// One step of chosen policies on a plain function of a few values: what they say of settings that make no
// sense is heard before a model is read, and not after a mask was made for a minute.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zoq/estimate/estimators.hpp>
#include <zoq/optim/optimizers.hpp>
#include <zoq/optim/schedule.hpp>
#include <zoq/random/directions.hpp>

namespace zoq::cli {

/// Wrong usage, naming the option, on settings that a policy refuses. Cost: some losses of 16 values.
void try_policies(const any_estimator::list& estimator, const any_optimizer::list& optimizer,
                  const any_direction& direction, const any_schedule& schedule);

}  // namespace zoq::cli
