// A language model that fits into a program: a Llama of two layers with random weights, one token for each byte. It
// stands in for a model of yours, which zoq::llama::open("model.gguf") gives, with zoq::tokenizer for its words.
//
//     zoq::llama model = tiny::model();
//     zoq::example row{tiny::tokens("Dull. It was"), {tiny::tokens(" bad"), tiny::tokens(" good")}, 0};
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>
#include <zoq/model/families.hpp>
#include <zoq/model/llama.hpp>
#include <zoq/quant/formats.hpp>
#include <zoq/random/gaussian.hpp>

namespace tiny {

/// Weights have variance 1 / columns, so that what goes through the layers keeps its size; gains are 1.
inline zoq::llama model(zoq::seed_t seed = 1) {
  zoq::llama_config config;
  config.layers = 2;
  config.hidden = 32;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_size = 8;
  config.feed_forward = 64;
  config.vocabulary = 256;
  config.context = 128;
  const auto weights = std::make_shared<std::vector<std::vector<float>>>();
  std::vector<zoq::model_tensor> tensors;
  for (const zoq::expected_tensor& e : zoq::tensors_of(config).all()) {
    std::vector<float> w(static_cast<std::size_t>(e.rows * e.columns), 1.0f);
    if (e.role != zoq::tensor_role::norm) {
      const auto z = zoq::gaussian::at(seed + weights->size(), {});
      for (std::size_t i = 0; i < w.size(); ++i) {
        w[i] = z.four(static_cast<zoq::index_t>(i / 4)).at[i % 4] /
               std::sqrt(static_cast<float>(e.columns));
      }
    }
    weights->push_back(std::move(w));  // the floats stay where they are
    tensors.push_back(
        {e.name, zoq::any_packed{zoq::float_matrix(weights->back().data(), e.rows, e.columns)},
         e.role});
  }
  return zoq::llama(config, std::move(tensors), weights);
}

inline std::vector<zoq::token_t> tokens(std::string_view text) {
  std::vector<zoq::token_t> out;
  for (const char c : text) {
    out.push_back(static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace tiny
