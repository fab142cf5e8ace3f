// The unquantised formats as schemes of one value a block, so that float and quantised weights mix
// freely: f32_format, f16_format, bf16_format.
//
//     static_assert(zoq::info_of<zoq::bf16_format>().block_bytes == 2);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/core/half.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

/// Floats as they are.
struct f32_format {
  static constexpr std::string_view name = "f32";
  static constexpr std::string_view summary = "floats";
  static constexpr std::string_view cost = "32 bits a weight";
  static constexpr std::string_view paper = "IEEE 754";
  static constexpr std::uint32_t gguf_type = 0;
  static constexpr std::uint32_t gguf_file_type = 0;
  static constexpr int block_size = 1;
  static constexpr bool own_kernels = true;  // quant/scheme.hpp
  struct row {};
  /// One value, 4 bytes.
  struct block {
    float value;  // as it is
  };
  ZOQ_HD static void decode(const row&, const block& b, float* y) { *y = b.value; }
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t i = 0; i < columns; ++i) {
      blocks[i].value = x[i];
    }
  }
};
static_assert(quant_scheme<f32_format>);

/// Half floats: encoding rounds to nearest, and to infinity beyond 65504.
struct f16_format {
  static constexpr std::string_view name = "f16";
  static constexpr std::string_view summary = "half floats";
  static constexpr std::string_view cost = "16 bits a weight";
  static constexpr std::string_view paper = "IEEE 754";
  static constexpr std::uint32_t gguf_type = 1;
  static constexpr std::uint32_t gguf_file_type = 1;
  static constexpr int block_size = 1;
  static constexpr bool own_kernels = true;  // quant/scheme.hpp
  struct row {};
  /// One value, 2 bytes.
  struct block {
    f16 value;  // core/half.hpp
  };
  ZOQ_HD static void decode(const row&, const block& b, float* y) { *y = to_float(b.value); }
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t i = 0; i < columns; ++i) {
      blocks[i].value = to_f16(x[i]);
    }
  }
};
static_assert(quant_scheme<f16_format>);

/// Floats of 8 significant bits: encoding rounds to nearest.
struct bf16_format {
  static constexpr std::string_view name = "bf16";
  static constexpr std::string_view summary = "the upper halves of floats";
  static constexpr std::string_view cost = "16 bits a weight";
  static constexpr std::string_view paper = "Intel, BFLOAT16 hardware numerics definition";
  static constexpr std::uint32_t gguf_type = 30;
  static constexpr std::uint32_t gguf_file_type = 32;
  static constexpr int block_size = 1;
  static constexpr bool own_kernels = true;  // quant/scheme.hpp
  struct row {};
  /// One value, 2 bytes.
  struct block {
    bf16 value;  // core/half.hpp
  };
  ZOQ_HD static void decode(const row&, const block& b, float* y) { *y = to_float(b.value); }
  static void encode(const float* x, const float*, index_t columns, row&, block* blocks) {
    for (index_t i = 0; i < columns; ++i) {
      blocks[i].value = to_bf16(x[i]);
    }
  }
};
static_assert(quant_scheme<bf16_format>);

}  // namespace zoq
