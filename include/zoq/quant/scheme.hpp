// concept quant_scheme: how a row of weights is stored, as blocks of `block_size` values.
//
//     struct my_format {
//       static constexpr std::string_view name = "my_format";
//       static constexpr std::uint32_t gguf_type = 2;   // in GGUF files; no_gguf_type if none
//       static constexpr int block_size = 32;
//       struct row {};          // what a whole row owns (a look-up table)
//       struct block { ... };   // exactly the bytes in the file
//       ZOQ_HD static void decode(const row&, const block&, float* y);   // y: [block_size]
//       static void encode(const float* x, const float* importance, index_t columns, row&,
//                          block*);
//     };
//
// `importance` ([columns], or null) weighs the squared error of each value. A scheme may also have
// `static constexpr std::uint32_t gguf_file_type`: the value of general.file_type in GGUF files whose
// matrices are of this format; `own_kernels = true`: matrix kernels compiled for this format alone,
// faster to run and slower to build; and one line each for lists, `summary`, `paper` and `cost`. To
// add a format: one header with such a struct, and its name in quant/formats.hpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "zoq/core/config.hpp"

namespace zoq {

inline constexpr std::uint32_t no_gguf_type = 0xffffffffu;  // of formats not in GGUF files

template <class S>
concept quant_scheme = std::is_empty_v<S> && std::is_trivially_copyable_v<typename S::row> &&
    std::is_trivially_copyable_v<typename S::block> &&
    requires(const typename S::row& r, const typename S::block& b, typename S::row& row,
             typename S::block* blocks, const float* x, index_t columns, float* y) {
  { S::name } -> std::convertible_to<std::string_view>;
  { S::gguf_type } -> std::convertible_to<std::uint32_t>;
  { S::block_size } -> std::convertible_to<int>;
  S::decode(r, b, y);
  S::encode(x, x, columns, row, blocks);
};

/// Whether the kernels are compiled for this format alone. The others share one, which decodes a
/// stretch of rows to floats first.
template <quant_scheme S>
inline constexpr bool has_own_kernels = false;
/// As the format says by `own_kernels`.
template <quant_scheme S>
requires requires { S::own_kernels; }
inline constexpr bool has_own_kernels<S> = S::own_kernels;

/// Bytes of what a row owns beside its blocks.
template <quant_scheme S>
inline constexpr index_t row_bytes_of = std::is_empty_v<typename S::row>
                                            ? 0
                                            : static_cast<index_t>(sizeof(typename S::row));

}  // namespace zoq
