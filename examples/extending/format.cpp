// A new format: three values, -d, 0 and d, in two bits.
//
// Its last line: 64 values in 20 bytes
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <iostream>
#include <string_view>
#include <vector>
#include <zoq/core/half.hpp>
#include <zoq/quant/packed_view.hpp>
#include <zoq/quant/scheme.hpp>

// t2: 32 values in 10 bytes. value[i] = d * (code[i] - 1), code i in bits 2 (i % 4) of byte i / 4.
struct t2 {
  static constexpr std::string_view name = "t2";
  static constexpr std::string_view summary = "-d, 0 and d, with a d for 32 values";
  static constexpr std::string_view paper = "this page";
  static constexpr std::string_view cost = "2.5 bits a weight";
  static constexpr std::uint32_t gguf_type = zoq::no_gguf_type;
  static constexpr int block_size = 32;
  struct row {};
  struct block {
    zoq::f16 d;
    std::uint8_t codes[8];
  };

  ZOQ_HD static void decode(const row&, const block& b, float* y) {
    const float d = zoq::to_float(b.d);
    for (int i = 0; i < 32; ++i) {
      y[i] = d * static_cast<float>((b.codes[i / 4] >> (2 * (i % 4)) & 3) - 1);
    }
  }

  static void encode(const float* x, const float*, zoq::index_t columns, row&, block* blocks) {
    for (zoq::index_t first = 0; first < columns; first += 32, x += 32, ++blocks) {
      float largest = 0;
      for (int i = 0; i < 32; ++i) {
        largest = std::fmax(largest, std::fabs(x[i]));
      }
      *blocks = {zoq::to_f16(largest), {}};
      for (int i = 0; i < 32 && largest > 0; ++i) {
        const auto code = static_cast<unsigned>(std::round(x[i] / largest) + 1);
        blocks->codes[i / 4] =
            static_cast<std::uint8_t>(blocks->codes[i / 4] | code << 2 * (i % 4));
      }
    }
  }
};
static_assert(zoq::quant_scheme<t2> && sizeof(t2::block) == 10);

int main() {
  // What the format can say comes back as it was.
  std::vector<float> x;
  for (int i = 0; i < 64; ++i) {
    x.push_back(0.75f * static_cast<float>(i % 3 - 1));
  }
  t2::row none;
  std::vector<t2::block> blocks(2);
  t2::encode(x.data(), nullptr, 64, none, blocks.data());
  std::vector<float> y(64);
  zoq::decode_row(zoq::packed_view<t2>{blocks.data(), nullptr, {1, 64}}, 0, y.data());
  std::cout << "64 values in " << blocks.size() * sizeof(t2::block) << " bytes\n";
  return x == y ? 0 : 1;
}
