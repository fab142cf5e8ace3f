// The sizes of a Llama-family transformer, and how many weights they make.
//
//     zoq::llama_config c = zoq::llama_config_from(file);
//     c.linear_weights();   // 106,168,320 for SmolLM2-135M; 6,476,005,376 for Llama-2-7B
//
// Touvron et al., "Llama 2", arXiv 2307.09288. Metadata keys: the GGUF specification.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"

namespace zoq {

struct llama_config {
  index_t layers = 0;
  index_t hidden = 0;        // C
  index_t heads = 0;         // H, of the query
  index_t kv_heads = 0;      // K, of keys and values: a divisor of H
  index_t head_size = 0;     // D
  index_t feed_forward = 0;  // F
  index_t vocabulary = 0;    // V
  index_t context = 0;       // longest sequence
  double rope_base = 10000;
  float norm_epsilon = 1e-5f;

  /// Weights of the seven matrices of every layer: what the lead method may tune.
  [[nodiscard]] constexpr index_t linear_weights() const {
    const index_t attention = 2 * hidden * heads * head_size + 2 * hidden * kv_heads * head_size;
    return layers * (attention + 3 * hidden * feed_forward);
  }

  /// Throws, naming `source`, unless every size makes sense.
  void validate(const std::string& source) const {
    require(layers > 0 && hidden > 0 && heads > 0 && kv_heads > 0 && feed_forward > 0 &&
                vocabulary > 0 && context > 0,
            source, ": a size of the model is not positive");
    constexpr index_t most = index_t{1} << 31;  // products of two sizes stay below 2^62
    require(layers <= most && hidden <= most && heads <= most && kv_heads <= most &&
                feed_forward <= most && vocabulary <= most && context <= most,
            source, ": a size of the model is beyond 2^31");
    require(heads % kv_heads == 0, source, ": ", heads, " heads cannot share ", kv_heads,
            " heads of keys and values");
    require(head_size > 0 && head_size % 2 == 0 && head_size <= 256, source, ": head size ",
            head_size, ", wanted an even number up to 256");
    require(rope_base > 1, source, ": rope base ", rope_base);
    require(norm_epsilon > 0, source, ": norm epsilon ", norm_epsilon);
  }
};

}  // namespace zoq
