// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/finite.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"

using namespace zoq::test;

TEST_CASE_TEMPLATE("finite: a weight that is NaN or infinite is named by tensor, row and column", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const auto error_of = [&](const tiny_llama& tiny) {
    const zoq::llama model = tiny.model();
    return message_of([&] { zoq::require_finite(exec, model.tensors()); });
  };
  zoq::llama_config config = tiny_config();
  config.hidden = 64;  // whole blocks
  config.head_size = config.hidden / config.heads;
  for (const std::string format : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"}) {
    CAPTURE(format);
    tiny_llama tiny({.config = config, .format = format});
    CHECK(error_of(tiny) == "");
    // The first bytes of row 3: a value, or a block's scale. All bits set is a NaN in each of them.
    tiny_llama::tensor& t = tiny.named("blk.1.ffn_up.weight");
    std::vector<std::byte>& bytes = *t.weight.bytes;
    const std::size_t row = bytes.size() / static_cast<std::size_t>(t.shape[1]);
    std::memset(bytes.data() + 3 * row, 0xff, format == "f32" ? 4 : 2);
    const std::string said = error_of(tiny);
    CHECK(said.rfind("blk.1.ffn_up.weight: the weight at row 3, column 0 is ", 0) == 0);
    CHECK(said.find("nan") != said.npos);
  }
  tiny_llama norm;
  const float infinite = HUGE_VALF;
  std::memcpy(norm.named("blk.0.attn_norm.weight").weight.bytes->data() + 4 * 5, &infinite, 4);
  CHECK(error_of(norm) == "blk.0.attn_norm.weight: the weight at row 0, column 5 is inf");
}
