// Views, the steps of a trainer on the executor `cpu`, and objectives: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#define ZOQ_COMPILED template
#include <zoq/objective/objectives.hpp>
#include <zoq/train/on_cpu.hpp>
#include <zoq/view/on_cpu.hpp>
