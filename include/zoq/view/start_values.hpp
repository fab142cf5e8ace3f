// Initial values that are random, or rows of the embedding: made on the host, so that every executor
// starts at the same bits.
//
//     std::vector<float> a = zoq::normal_values(seed, number, n, deviation);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/tensors.hpp"

namespace zoq {

/// n normal values of this deviation; `number` names a tensor, so that tensors have fields of their own
/// whichever others are there.
std::vector<float> normal_values(seed_t seed, index_t number, index_t n, double deviation);

/// The tokens that a prompt of `rows` rows begins as: those given, again and again, or random ones.
/// Throws on a token outside the vocabulary.
std::vector<token_t> prompt_tokens(std::span<const token_t> given, index_t rows, index_t vocabulary,
                                   seed_t seed);

/// The rows of these tokens, decoded: [tokens, C]. `table` lies in host memory.
std::vector<float> embedded(const model_tensor& table, std::span<const token_t> tokens);

}  // namespace zoq

#if ZOQ_BODIES

#include <cstddef>
#include <cstdint>

#include "zoq/core/error.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/philox.hpp"
#include "zoq/random/seeds.hpp"

namespace zoq {

ZOQ_BODY std::vector<float> normal_values(seed_t seed, index_t number, index_t n,
                                          double deviation) {
  const gaussian::field_type z{
      derive_seed(seed, purpose::start_values, static_cast<std::uint64_t>(number))};
  std::vector<float> out(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; i += 4) {
    const float4v four = z.four(i / 4);
    for (index_t j = 0; j < 4 && i + j < n; ++j) {
      out[static_cast<std::size_t>(i + j)] =
          static_cast<float>(deviation * static_cast<double>(four.at[j]));
    }
  }
  return out;
}

ZOQ_BODY std::vector<token_t> prompt_tokens(std::span<const token_t> given, index_t rows,
                                            index_t vocabulary, seed_t seed) {
  const seed_t own = derive_seed(seed, purpose::start_values, ~std::uint64_t{0});
  std::vector<token_t> out;
  for (index_t i = 0; i < rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const token_t token =
        given.empty() ? static_cast<token_t>(philox(own, static_cast<std::uint64_t>(i)).at[0] %
                                             static_cast<std::uint32_t>(vocabulary))
                      : given[at % given.size()];
    require(token >= 0 && token < vocabulary, "prompt: token ", token,
            " is outside the vocabulary of ", vocabulary);
    out.push_back(token);
  }
  return out;
}

ZOQ_BODY std::vector<float> embedded(const model_tensor& table, std::span<const token_t> tokens) {
  const index_t columns = table.weight.columns();
  std::vector<float> out(tokens.size() * static_cast<std::size_t>(columns));
  table.weight.visit([&](const auto& packed) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      decode_row(packed, tokens[i], out.data() + i * static_cast<std::size_t>(columns));
    }
  });
  return out;
}

}  // namespace zoq

#endif
