// What needs JSON and regular expressions: text, rows of data, masks, deltas and records of runs.
// Link zoq::io.
//
//     zoq::tokenizer words(zoq::open_gguf("model.gguf"));
//     auto rows = zoq::encode_rows(words, zoq::read_rows("train.jsonl"));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/data/encode.hpp"
#include "zoq/io/jsonl.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/io/tokenizer.hpp"
#include "zoq/train/checkpoint.hpp"
#include "zoq/train/record.hpp"
#include "zoq/view/delta.hpp"
