// The sizes of a Llama: a decoder_config as it is without any change.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/model/decoder_config.hpp"

namespace zoq {

using llama_config = decoder_config;  // whose defaults are Llama's

}  // namespace zoq
