// The forward pass under the name that goes with `llama`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/model/decoder_forward.hpp"
#include "zoq/model/llama.hpp"

namespace zoq {

/// Of any family, as `llama` is.
template <executor X>
using llama_forward = decoder_forward<X>;

}  // namespace zoq
