// A model from any file that zoq reads: GGUF, a Hugging Face folder, or zoq's own container.
//
//     zoq::llama model = zoq::open_model("SmolLM2-135M");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "zoq/core/config.hpp"
#include "zoq/model/llama.hpp"

namespace zoq {

/// Throws as open_model_file and llama::from do.
llama open_model(const std::string& path);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/io/open_model_file.hpp"

namespace zoq {

ZOQ_BODY llama open_model(const std::string& path) { return llama::from(open_model_file(path)); }

}  // namespace zoq

#endif
