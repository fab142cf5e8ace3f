// A format that is not decoded.
// wanted: quant_scheme
// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/finite.hpp"

struct sealed {
  static constexpr std::string_view name = "sealed";
  static constexpr std::uint32_t gguf_type = 999;
  static constexpr int block_size = 32;
  struct row {};
  struct block {
    std::uint8_t codes[16];
  };
};

zoq::first_not_finite<sealed> use;
