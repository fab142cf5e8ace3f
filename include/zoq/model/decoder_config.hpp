// The sizes of a decoder and how its layers are built, and how many weights they make.
//
//     zoq::decoder_config c = zoq::decoder_config_from(file);
//     c.linear_weights();   // 106,168,320 for SmolLM2-135M; 6,476,005,376 for Llama-2-7B
//     c.at(3).heads;        // of a layer: some families have layers of different sizes
//
// What differs between families is data here: the forward pass knows no family by name.
// Llama: Touvron et al., arXiv 2307.09288. GPT-2: Radford et al., "Language Models are Unsupervised
// Multitask Learners", 2019. OpenELM: Mehta et al., arXiv 2404.14619.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// rms: ops/norm.hpp; layer: ops/layer_norm.hpp, with a bias.
enum class norm_kind { rms, layer };
/// rotary: keys and queries are turned; learned: a row of a table is added to each token's.
enum class position_kind { rotary, learned };
/// Of the feed-forward layer. swiglu: of gate and up; gelu: of up alone.
enum class activation_kind { swiglu, gelu };

/// What may differ from layer to layer.
struct layer_sizes {
  index_t heads = 0;         // H, of the query
  index_t kv_heads = 0;      // K, of keys and values: a divisor of H
  index_t feed_forward = 0;  // F
};

struct decoder_config {
  index_t layers = 0;                               // transformer blocks
  index_t hidden = 0;                               // C
  index_t heads = 0;                                // H: of every layer, or the largest
  index_t kv_heads = 0;                             // K, likewise
  index_t head_size = 0;                            // D
  index_t feed_forward = 0;                         // F, likewise
  index_t vocabulary = 0;                           // V
  index_t context = 0;                              // longest sequence
  double rope_base = 10000;                         // of the angles: ops/rotary.hpp
  float norm_epsilon = 1e-5f;                       // under the root of every norm
  std::string_view family = "llama";                // a name in `any_family`
  norm_kind norms = norm_kind::rms;                 // all of them
  position_kind positions = position_kind::rotary;  // how they enter
  bool rotary_halves = false;  // pairs are (i, i + D / 2); else neighbours, GGUF's order for Llama
  activation_kind activation = activation_kind::swiglu;  // of every layer
  std::vector<layer_sizes> by_layer{};                   // empty: all layers are the same

  /// The sizes of layer l.
  [[nodiscard]] constexpr layer_sizes at(index_t l) const {
    return by_layer.empty() ? layer_sizes{heads, kv_heads, feed_forward}
                            : by_layer[static_cast<std::size_t>(l)];
  }
  /// H * D of the widest layer.
  [[nodiscard]] constexpr index_t query_columns() const { return heads * head_size; }
  /// K * D of the widest layer.
  [[nodiscard]] constexpr index_t kv_columns() const { return kv_heads * head_size; }

  /// Weights of the matrices of all layers: what the lead method may tune.
  [[nodiscard]] constexpr index_t linear_weights() const {
    index_t sum = 0;
    for (index_t l = 0; l < layers; ++l) {
      const layer_sizes s = at(l);
      const index_t attention = 2 * hidden * head_size * (s.heads + s.kv_heads);
      const index_t maps = activation == activation_kind::swiglu ? 3 : 2;
      sum += attention + maps * hidden * s.feed_forward;
    }
    return sum;
  }

  /// Sets the sizes of every layer, and the largest of them. Of equal layers none are kept.
  void set_layers(std::vector<layer_sizes> all);

  /// Throws, naming `source`, unless every size makes sense.
  void validate(const std::string& source) const;
};

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY void decoder_config::set_layers(std::vector<layer_sizes> all) {
  bool equal = true;
  heads = kv_heads = feed_forward = 0;
  for (const layer_sizes& s : all) {
    heads = s.heads > heads ? s.heads : heads;
    kv_heads = s.kv_heads > kv_heads ? s.kv_heads : kv_heads;
    feed_forward = s.feed_forward > feed_forward ? s.feed_forward : feed_forward;
    equal = equal && s.heads == all[0].heads && s.kv_heads == all[0].kv_heads &&
            s.feed_forward == all[0].feed_forward;
  }
  by_layer = equal ? std::vector<layer_sizes>() : std::move(all);
}

ZOQ_BODY void decoder_config::validate(const std::string& source) const {
  require(layers > 0 && hidden > 0 && heads > 0 && kv_heads > 0 && feed_forward > 0 &&
              vocabulary > 0 && context > 0,
          source, ": a size of the model is not positive");
  constexpr index_t most = index_t{1} << 31;  // products of two sizes stay below 2^62
  require(layers <= most && hidden <= most && heads <= most && kv_heads <= most &&
              feed_forward <= most && vocabulary <= most && context <= most,
          source, ": a size of the model is beyond 2^31");
  require(by_layer.empty() || static_cast<index_t>(by_layer.size()) == layers, source,
          ": sizes of ", by_layer.size(), " layers, the model has ", layers);
  for (index_t l = 0; l < static_cast<index_t>(by_layer.empty() ? 1 : by_layer.size()); ++l) {
    const layer_sizes s = at(l);
    require(s.heads > 0 && s.kv_heads > 0 && s.feed_forward > 0 && s.heads <= heads &&
                s.kv_heads <= kv_heads && s.feed_forward <= feed_forward,
            source, ": a size of layer ", l, " is not positive, or beyond the largest");
    require(s.heads % s.kv_heads == 0, source, ": ", s.heads, " heads cannot share ", s.kv_heads,
            " heads of keys and values");
  }
  require(head_size > 0 && head_size % 2 == 0 && head_size <= 256, source, ": head size ",
          head_size, ", wanted an even number up to 256");
  require(rope_base > 1 && std::isfinite(rope_base), source, ": rope base ", rope_base,
          ", wanted a finite number above 1");
  require(norm_epsilon > 0 && std::isfinite(norm_epsilon), source, ": norm epsilon ", norm_epsilon,
          ", wanted a finite positive number");
}

}  // namespace zoq

#endif
