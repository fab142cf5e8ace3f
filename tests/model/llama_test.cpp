// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/llama.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "golden.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_llama.hpp"

using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

/// The message for a file of `tiny`, without the path that it must start with.
std::string error_of(const temporary_folder& folder, const tiny_llama& tiny) {
  const std::string path = folder / "m.gguf";
  tiny.write(path);
  const std::string message = message_of([&] { llama::open(path); });
  CHECK(is_one_line(message));
  CHECK_MESSAGE(message.rfind(path + ": ", 0) == 0, message);
  return message.substr(std::min(message.size(), path.size() + 2));
}

/// The message of the constructor from tensors in memory.
std::string error_in_memory(const tiny_llama& tiny) {
  return message_of([&] { (void)tiny.model(); });
}

}  // namespace

TEST_CASE("tiny model: the formula gives the golden file's weights") {
  const tiny_llama tiny;
  const auto& wanted = golden()["tensors"];
  REQUIRE(wanted.size() == tiny.tensors.size());
  for (std::size_t t = 0; t < wanted.size(); ++t) {
    CHECK(tiny.tensors[t].name == wanted[t]["name"]);
    const std::vector<float> values = tiny.tensors[t].weight.decoded();
    double sum = 0;
    for (const float v : values) {
      sum += static_cast<double>(v);
    }
    // The file's numbers have 9 digits.
    CHECK(sum == doctest::Approx(wanted[t]["sum"].get<double>()).epsilon(1e-8));
    const std::vector<float> first = wanted[t]["first"];
    CHECK(std::vector<float>(values.begin(), values.begin() + 4) == first);
  }
}

TEST_CASE("llama: open reads sizes, numbers, roles and weights") {
  const temporary_folder folder;
  const tiny_llama tiny;
  tiny.write(folder / "m.gguf");
  const llama model = llama::open(folder / "m.gguf");
  const auto& c = model.config();
  CHECK(c.layers == 2);
  CHECK(c.hidden == 32);
  CHECK(c.heads == 4);
  CHECK(c.kv_heads == 2);
  CHECK(c.head_size == 8);
  CHECK(c.feed_forward == 64);
  CHECK(c.vocabulary == 96);
  CHECK(c.context == 64);
  CHECK(c.rope_base == 10000);
  CHECK(c.norm_epsilon == 1e-5f);
  REQUIRE(model.tensors().size() == tiny.tensors.size());
  for (std::size_t t = 0; t < tiny.tensors.size(); ++t) {
    const zoq::model_tensor& got = model.tensors()[t];
    CHECK(got.name == tiny.tensors[t].name);
    CHECK(got.role == tiny.tensors[t].role);
    CHECK(
        same_bits(packed_matrix{nullptr, got.weight}.decoded(), tiny.tensors[t].weight.decoded()));
  }
  const auto name = [&](index_t number) { return model.tensor(number).name; };
  const llama::layer_numbers n = model.layer(1);
  CHECK(name(model.embedding()) == "token_embd.weight");
  CHECK(name(n.attention_norm) == "blk.1.attn_norm.weight");
  CHECK(name(n.query) == "blk.1.attn_q.weight");
  CHECK(name(n.key) == "blk.1.attn_k.weight");
  CHECK(name(n.value) == "blk.1.attn_v.weight");
  CHECK(name(n.output) == "blk.1.attn_output.weight");
  CHECK(name(n.feed_forward_norm) == "blk.1.ffn_norm.weight");
  CHECK(name(n.gate) == "blk.1.ffn_gate.weight");
  CHECK(name(n.up) == "blk.1.ffn_up.weight");
  CHECK(name(n.down) == "blk.1.ffn_down.weight");
  CHECK(name(model.output_norm()) == "output_norm.weight");
  CHECK(name(model.head()) == "output.weight");
  CHECK_FALSE(model.tied());
  CHECK(zoq::linear_weights(model.tensors()) == c.linear_weights());
}

TEST_CASE("llama: every format is opened where it lies, file and memory have one hash") {
  const temporary_folder folder;
  for (const auto format : gguf_format_names()) {
    CAPTURE(format);
    const tiny_llama tiny({.format = format});
    tiny.write(folder / "m.gguf");
    const llama opened = llama::open(folder / "m.gguf");
    const llama moved = llama(opened);  // copies share the mapped file
    CHECK(moved.tensor(2).weight.format().name == format);
    CHECK(moved.hash() == tiny.model().hash());
    index_t bytes = 0;
    for (const auto& t : tiny.tensors) {
      bytes += static_cast<index_t>(t.weight.bytes->size());
    }
    CHECK(moved.byte_count() == bytes);
  }
}

TEST_CASE("llama: without a head of its own the embedding is the head") {
  const temporary_folder folder;
  const tiny_llama tiny({.tied = true});
  tiny.write(folder / "m.gguf");
  for (const llama& model : {llama::open(folder / "m.gguf"), tiny.model()}) {
    CHECK(model.tied());
    CHECK(model.head() == model.embedding());
    CHECK(model.tensors().size() == 20);
  }
}

TEST_CASE("llama: keys that may be left out") {
  const temporary_folder folder;
  tiny_llama tiny;
  tiny.metadata.erase("llama.rope.freq_base");
  tiny.metadata.erase("llama.rope.dimension_count");
  tiny.metadata["llama.rope.scaling.type"] = "none";
  tiny.write(folder / "m.gguf");
  CHECK(llama::open(folder / "m.gguf").config().rope_base == 10000);
  zoq::llama_config equal = tiny_config();
  equal.kv_heads = equal.heads;
  tiny_llama all_heads({.config = equal});
  all_heads.metadata.erase("llama.attention.head_count_kv");
  all_heads.write(folder / "m.gguf");
  CHECK(llama::open(folder / "m.gguf").config().kv_heads == 4);
  zoq::llama_config wide = tiny_config();
  wide.head_size = 16;  // heads * head size is not the hidden size
  tiny_llama wide_heads({.config = wide});
  wide_heads.metadata["llama.attention.key_length"] = std::uint32_t{16};
  wide_heads.write(folder / "m.gguf");
  CHECK(llama::open(folder / "m.gguf").config().head_size == 16);
}

TEST_CASE("llama: metadata that does not fit is refused, naming file and key") {
  const temporary_folder folder;
  const auto with = [&](const std::string& key, const tiny_llama::value& what) {
    tiny_llama tiny;
    tiny.metadata[key] = what;
    return error_of(folder, tiny);
  };
  CHECK(with("general.architecture", "bert") ==
        "architecture \"bert\" is not known: llama, gpt2, openelm");
  CHECK(with("llama.rope.dimension_count", std::uint32_t{4}) ==
        "llama.rope.dimension_count is 4, only the whole head of 8 is supported");
  CHECK(with("llama.rope.scaling.type", "linear") ==
        "llama.rope.scaling.type is \"linear\", only \"none\" is supported");
  CHECK(with("llama.rope.scale_linear", 2.0f) ==
        "llama.rope.scale_linear is 2, only 1 is supported");
  CHECK(with("llama.expert_count", std::uint32_t{8}) ==
        "llama.expert_count is 8, a mixture of experts is not supported");
  // Absurd sizes are refused by their key, before anything is made of them.
  for (const char* key :
       {"llama.block_count", "llama.embedding_length", "llama.attention.head_count",
        "llama.attention.head_count_kv", "llama.feed_forward_length", "llama.context_length"}) {
    for (const std::uint32_t bad : {0u, (1u << 31) + 1, ~0u}) {
      CHECK(with(key, bad) ==
            zoq::text("metadata ", key, " is ", bad, ", wanted a size from 1 to 2^31"));
    }
  }
  for (const char* key : {"llama.rope.freq_base", "llama.attention.layer_norm_rms_epsilon"}) {
    for (const float bad : {0.0f, -1.0f, HUGE_VALF, NAN}) {
      CHECK(with(key, bad) ==
            zoq::text("metadata ", key, " is ", bad, ", wanted a finite positive number"));
    }
  }
  CHECK(with("llama.attention.head_count_kv", std::uint32_t{3}) ==
        "4 heads cannot share 3 heads of keys and values");
  CHECK(with("llama.block_count", "two") ==
        "metadata llama.block_count is of kind string, wanted an integer");
  // A count that a file could never hold must not be believed.
  CHECK(with("llama.block_count", std::uint32_t{2000000000}) ==
        "llama.block_count is 2000000000, the file has 21 tensors");
  for (const char* key : {"general.architecture", "llama.block_count", "llama.embedding_length",
                          "llama.attention.head_count", "llama.feed_forward_length",
                          "llama.context_length", "llama.attention.layer_norm_rms_epsilon"}) {
    tiny_llama tiny;
    tiny.metadata.erase(key);
    CHECK(error_of(folder, tiny) == std::string("metadata ") + key + " is missing");
  }
}

TEST_CASE("llama: tensors that do not fit are refused, naming file and tensor") {
  const temporary_folder folder;
  for (const char* name : {"token_embd.weight", "blk.0.attn_norm.weight", "blk.1.ffn_down.weight",
                           "output_norm.weight"}) {
    tiny_llama tiny;
    tiny.remove(name);
    CHECK(error_of(folder, tiny) == std::string("tensor ") + name + " is missing");
  }
  tiny_llama unknown;
  unknown.named("blk.1.attn_v.weight").type = 999;
  CHECK(error_of(folder, unknown) == "tensor blk.1.attn_v.weight: unknown format, GGUF type 999");

  tiny_llama shape;
  shape.named("blk.0.attn_k.weight").shape = {16, 32};
  CHECK(error_of(folder, shape) ==
        "tensor blk.0.attn_k.weight is 32 x 16, wanted blk.0.attn_k.weight of 16 x 32");
  tiny_llama norm;
  norm.named("output_norm.weight").shape = {16, 2};
  CHECK(error_of(folder, norm) ==
        "tensor output_norm.weight is 2 x 16, wanted output_norm.weight of 1 x 32");
  tiny_llama hidden;
  hidden.metadata["llama.feed_forward_length"] = std::uint32_t{96};
  CHECK(error_of(folder, hidden) ==
        "tensor blk.0.ffn_gate.weight is 64 x 32, wanted blk.0.ffn_gate.weight of 96 x 32");

  tiny_llama extra;
  extra.tensors.push_back(extra.tensors[2]);
  extra.tensors.back().name = "blk.0.attn_q.bias";
  CHECK(error_of(folder, extra) ==
        "tensor blk.0.attn_q.bias is not part of a llama model that zoq knows");
  tiny_llama layers;
  layers.metadata["llama.block_count"] = std::uint32_t{1};
  CHECK(error_of(folder, layers) ==
        "tensor blk.1.attn_norm.weight is not part of a llama model that zoq knows");
}

TEST_CASE("llama: tensors in memory are checked too") {
  tiny_llama few;
  few.tensors.resize(5);
  CHECK(error_in_memory(few) == "llama: 5 tensors, wanted 21");
  tiny_llama order;
  std::swap(order.tensors[2], order.tensors[3]);
  CHECK(error_in_memory(order) ==
        "llama: tensor blk.0.attn_k.weight is 16 x 32, wanted blk.0.attn_q.weight of 32 x 32");
  tiny_llama odd;
  odd.config.head_size = 7;
  CHECK(error_in_memory(odd) == "llama: head size 7, wanted an even number up to 256");
}

TEST_CASE("llama: the hash names the contents") {
  const std::string first = tiny_llama().model().hash();
  CHECK(tiny_llama().model().hash() == first);
  CHECK(tiny_llama({.tied = true}).model().hash() != first);
  CHECK(tiny_llama({.format = "f16"}).model().hash() != first);
  tiny_llama one_bit;
  one_bit.tensors[7].weight.bytes->front() ^= std::byte{1};
  CHECK(one_bit.model().hash() != first);
}
