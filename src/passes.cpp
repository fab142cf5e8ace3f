// The passes of a model and the scores on the executor `cpu`: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#define ZOQ_COMPILED template
#include <zoq/score/on_cpu.hpp>
