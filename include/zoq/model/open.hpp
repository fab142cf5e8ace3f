// A model from any file that zoq reads: GGUF, a Hugging Face folder, or zoq's own container.
//
//     zoq::llama model = zoq::open_model("SmolLM2-135M");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "zoq/io/open_model_file.hpp"
#include "zoq/model/llama.hpp"

namespace zoq {

/// Throws as open_model_file and llama::from do.
inline llama open_model(const std::string& path) { return llama::from(open_model_file(path)); }

}  // namespace zoq
