// What needs JSON and regular expressions: text, rows of data, masks, deltas, records of runs, and models
// in other files than GGUF's. Exports and train/trajectory.hpp, which take longer to compile, by themselves.
// Link zoq::io.
//
//     zoq::tokenizer words(zoq::open_model_file("model.gguf"));
//     auto rows = zoq::encode_rows(words, zoq::read_rows("train.jsonl"));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/data/encode.hpp"
#include "zoq/io/dense_mask_file.hpp"
#include "zoq/io/hf_config.hpp"
#include "zoq/io/hf_folder.hpp"
#include "zoq/io/hf_tokenizer.hpp"
#include "zoq/io/json.hpp"
#include "zoq/io/jsonl.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/model_container.hpp"
#include "zoq/io/open_model_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/io/score_file.hpp"
#include "zoq/io/tokenizer.hpp"
#include "zoq/model/open.hpp"
#include "zoq/model/quantize.hpp"
#include "zoq/score/saved.hpp"
#include "zoq/train/checkpoint.hpp"
#include "zoq/train/record.hpp"
#include "zoq/view/delta.hpp"
#include "zoq/view/values_file.hpp"
