// Sizes of well-known models of the Llama family, to plan with where their files are not at hand.
//
//     zoq::llama_shape s = zoq::llama_shape_named("7b");     // Llama 2 7B
//
// SmolLM2: Ben Allal et al., arXiv 2502.02737. Llama 2: Touvron et al., arXiv 2307.09288. Llama 3:
// arXiv 2407.21783. The numbers are those of the published configuration files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/model/llama_config.hpp"

namespace zoq {

/// The sizes of one model, to plan with.
struct llama_shape {
  std::string_view name;   // "7b"
  std::string_view model;  // whose sizes these are
  llama_config config;     // as published
  bool tied = false;       // the head is the embedding
};

namespace detail {
inline llama_shape shape_of(std::string_view name, std::string_view model, bool tied,
                            index_t layers, index_t hidden, index_t heads, index_t kv_heads,
                            index_t feed_forward, index_t vocabulary, index_t context,
                            double rope_base) {
  return {name,
          model,
          {layers, hidden, heads, kv_heads, hidden / heads, feed_forward, vocabulary, context,
           rope_base},
          tied};
}
}  // namespace detail

/// By name. In each: name, model, tied; layers, C, H, K, F, V, context, rope base.
inline const std::array llama_shapes = {
    detail::shape_of("135m", "SmolLM2-135M", true, 30, 576, 9, 3, 1536, 49152, 8192, 1e5),
    detail::shape_of("360m", "SmolLM2-360M", true, 32, 960, 15, 5, 2560, 49152, 8192, 1e5),
    detail::shape_of("1.7b", "SmolLM2-1.7B", true, 24, 2048, 32, 32, 8192, 49152, 8192, 1.3e5),
    detail::shape_of("7b", "Llama-2-7B", false, 32, 4096, 32, 32, 11008, 32000, 4096, 1e4),
    detail::shape_of("8b", "Llama-3-8B", false, 32, 4096, 32, 8, 14336, 128256, 8192, 5e5),
    detail::shape_of("13b", "Llama-2-13B", false, 40, 5120, 40, 40, 13824, 32000, 4096, 1e4)};

/// The shape of this name. Throws, naming the choices, when there is none.
[[nodiscard]] llama_shape llama_shape_named(std::string_view name);

}  // namespace zoq

#if ZOQ_BODIES

#include <string>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY llama_shape llama_shape_named(std::string_view name) {
  std::string known;
  for (const llama_shape& s : llama_shapes) {
    if (s.name == name) {
      return s;
    }
    known += std::string(known.empty() ? "" : ", ").append(s.name);
  }
  fail("unknown shape \"", name, "\": ", known);
}

}  // namespace zoq

#endif
