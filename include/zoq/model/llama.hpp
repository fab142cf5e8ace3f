// The name under which the README opens a model. `llama::open` opens every family that zoq knows.
//
//     zoq::llama model = zoq::llama::open("model.gguf");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/model/decoder.hpp"
#include "zoq/model/llama_config.hpp"

namespace zoq {

using llama = decoder;  // of any family

}  // namespace zoq
