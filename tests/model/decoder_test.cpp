// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/decoder.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "tiny_llama.hpp"

using zoq::decoder;
using zoq::index_t;
using zoq::tensor_role;
using namespace zoq::test;

namespace {

/// The message for a file of `tiny`, without the path that it must start with.
std::string error_of(const tiny_llama& tiny) {
  const temporary_folder folder;
  const std::string path = folder / "m.gguf";
  tiny.write(path);
  const std::string message = message_of([&] { decoder::open(path); });
  CHECK_MESSAGE(message.rfind(path + ": ", 0) == 0, message);
  return message.substr(std::min(message.size(), path.size() + 2));
}

decoder opened(const tiny_llama& tiny) {
  const temporary_folder folder;
  tiny.write(folder / "m.gguf");
  return decoder::open(folder / "m.gguf");  // the mapping outlives the name
}

}  // namespace

TEST_CASE("decoder: a GPT-2 file gives sizes, roles and places") {
  const tiny_llama tiny({.config = tiny_gpt2_config(), .format = "q8_0", .tied = true});
  const decoder model = opened(tiny);
  const zoq::decoder_config& c = model.config();
  CHECK(c.family == "gpt2");
  CHECK(c.norms == zoq::norm_kind::layer);
  CHECK(c.positions == zoq::position_kind::learned);
  CHECK(c.activation == zoq::activation_kind::gelu);
  CHECK(c.heads == 4);
  CHECK(c.kv_heads == 4);
  CHECK(c.head_size == 8);
  CHECK(c.feed_forward == 64);
  CHECK(c.context == 64);
  CHECK(c.norm_epsilon == 1e-5f);
  CHECK(c.by_layer.empty());
  CHECK(zoq::linear_weights(model.tensors()) == c.linear_weights());
  const auto check = [&](index_t number, const std::string& name, tensor_role role) {
    CHECK(model.tensor(number).name == name);
    CHECK(model.tensor(number).role == role);
  };
  const zoq::layer_numbers& n = model.layer(1);
  check(model.numbers().positions, "position_embd.weight", tensor_role::position);
  check(n.attention_norm_bias, "blk.1.attn_norm.bias", tensor_role::bias);
  check(n.query_key_value, "blk.1.attn_qkv.weight", tensor_role::linear);
  check(n.query_key_value_bias, "blk.1.attn_qkv.bias", tensor_role::bias);
  check(n.output_bias, "blk.1.attn_output.bias", tensor_role::bias);
  check(n.up_bias, "blk.1.ffn_up.bias", tensor_role::bias);
  check(n.down, "blk.1.ffn_down.weight", tensor_role::linear);
  check(n.down_bias, "blk.1.ffn_down.bias", tensor_role::bias);
  check(model.numbers().output_norm_bias, "output_norm.bias", tensor_role::bias);
  CHECK(n.query == -1);
  CHECK(n.gate == -1);
  CHECK(n.query_norm == -1);
  CHECK(model.tied());
  CHECK(model.head() == model.embedding());
  CHECK(model.hash() == tiny.model().hash());
}

TEST_CASE("decoder: an OpenELM file gives the sizes of every layer") {
  const decoder model = opened(tiny_llama({.config = tiny_openelm_config(), .tied = true}));
  const zoq::decoder_config& c = model.config();
  CHECK(c.family == "openelm");
  CHECK(c.rotary_halves);
  REQUIRE(c.by_layer.size() == 2);
  CHECK(c.at(0).heads == 4);
  CHECK(c.at(0).kv_heads == 1);
  CHECK(c.at(0).feed_forward == 64);
  CHECK(c.at(1).heads == 8);
  CHECK(c.at(1).kv_heads == 2);
  CHECK(c.at(1).feed_forward == 96);
  CHECK(c.heads == 8);  // the largest
  CHECK(c.feed_forward == 96);
  CHECK(zoq::linear_weights(model.tensors()) == c.linear_weights());
  CHECK(model.tensor(model.layer(0).query_norm).name == "blk.0.attn_q_norm.weight");
  CHECK(model.tensor(model.layer(0).query_key_value).weight.rows() == (4 + 2) * 8);
  CHECK(model.tensor(model.layer(1).query_key_value).weight.rows() == (8 + 4) * 8);
}

TEST_CASE("decoder: an OpenELM of equal layers may say so by single numbers") {
  zoq::decoder_config c = tiny_openelm_config();
  c.set_layers({{8, 2, 64}, {8, 2, 64}});
  CHECK(c.by_layer.empty());
  tiny_llama tiny({.config = c, .tied = true});
  tiny.metadata["openelm.attention.key_length"] = std::uint32_t{8};
  CHECK(opened(tiny).config().heads == 8);
}

TEST_CASE("decoder: what does not fit a family is refused, naming file and key or tensor") {
  tiny_llama heads({.config = tiny_gpt2_config()});
  heads.metadata["gpt2.attention.head_count"] = std::uint32_t{5};
  CHECK(error_of(heads) == "gpt2.attention.head_count is 5, no divisor of the 32 columns");
  tiny_llama shared({.config = tiny_gpt2_config()});
  shared.metadata["gpt2.attention.head_count_kv"] = std::uint32_t{2};
  CHECK(error_of(shared) == "gpt2.attention.head_count_kv is 2, wanted as many as heads: 4");
  tiny_llama epsilon({.config = tiny_gpt2_config()});
  epsilon.metadata.erase("gpt2.attention.layer_norm_epsilon");
  CHECK(error_of(epsilon) == "metadata gpt2.attention.layer_norm_epsilon is missing");
  tiny_llama positions({.config = tiny_gpt2_config()});
  positions.metadata["gpt2.context_length"] = std::uint32_t{128};
  CHECK(error_of(positions) ==
        "tensor position_embd.weight is 64 x 32, wanted position_embd.weight of 128 x 32");
  tiny_llama bias({.config = tiny_gpt2_config()});
  bias.remove("blk.1.ffn_up.bias");
  CHECK(error_of(bias) == "tensor blk.1.ffn_up.bias is missing");
  tiny_llama extra({.config = tiny_gpt2_config()});
  extra.tensors.push_back(extra.tensors[2]);
  extra.tensors.back().name = "blk.0.attn_q.weight";
  CHECK(error_of(extra) == "tensor blk.0.attn_q.weight is not part of a gpt2 model that zoq knows");

  tiny_llama few({.config = tiny_openelm_config()});
  few.metadata["openelm.feed_forward_length"] = std::vector<std::uint32_t>{64};
  CHECK(error_of(few) == "openelm.feed_forward_length has 1 values, the model 2 layers");
  tiny_llama zero({.config = tiny_openelm_config()});
  zero.metadata["openelm.attention.head_count_kv"] = std::vector<std::uint32_t>{0, 2};
  CHECK(error_of(zero) ==
        "metadata openelm.attention.head_count_kv has an entry of 0, wanted sizes from 1 to 2^31");
  tiny_llama ratio({.config = tiny_openelm_config()});
  ratio.metadata["openelm.attention.head_count_kv"] = std::vector<std::uint32_t>{1, 3};
  CHECK(error_of(ratio) == "8 heads cannot share 3 heads of keys and values");
}
