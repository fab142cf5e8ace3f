// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/dense_mask_file.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "temporary_folder.hpp"
#include "zoq/io/hf_names.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/safetensors.hpp"

using zoq::index_t;
using zoq::mask;
using zoq::naming;
using zoq::test::message_of;
using zoq::test::temporary_folder;

namespace {

// Two layers with 4 heads of queries and 2 of keys, of 6 rows each.
mask some_places() {
  mask m;
  m.model_hash = "0123456789abcdef";
  m.tensors = {{"blk.0.attn_q.weight", 24, 5, {0, 7, 59, 60, 119}},
               {"blk.0.attn_k.weight", 12, 5, {3, 30, 31}},
               {"blk.0.attn_v.weight", 12, 5, {59}},
               {"blk.11.ffn_down.weight", 5, 7, {0, 1, 34}}};
  return m;
}
constexpr zoq::dense_mask_options as_hf = {.names = naming::hf, .heads = 4, .kv_heads = 2};

std::vector<zoq::tensor_mask> by_name(mask m) {
  std::sort(m.tensors.begin(), m.tensors.end(),
            [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  return m.tensors;
}

}  // namespace

TEST_CASE("dense masks: written and read again, under both namings") {
  const temporary_folder folder;
  const std::string path = folder / "mask.safetensors";
  for (const zoq::dense_mask_options& options : {zoq::dense_mask_options{}, as_hf}) {
    zoq::write_dense_mask(path, some_places(), options);
    const mask same = zoq::read_dense_mask(path, options);
    CHECK(by_name(same) == by_name(some_places()));
    CHECK(same.model_hash == some_places().model_hash);
    CHECK(by_name(zoq::read_any_mask(path, options)) == by_name(some_places()));
  }
  zoq::write_mask(path, some_places());
  CHECK(zoq::read_any_mask(path).tensors.size() == 4);
}

TEST_CASE("dense masks: rows of queries and keys as Hugging Face orders them") {
  const temporary_folder folder;
  const std::string path = folder / "mask.safetensors";
  // The second head of two, of size 6: rows 6 .. 11. Hugging Face has all first coordinates of the
  // pairs, then all second ones: GGUF's 6 7 8 9 10 11 are its 6 9 7 10 8 11.
  const std::vector<index_t> hf_row = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
  for (index_t row = 0; row < 12; ++row) {
    mask m;
    m.tensors = {{"blk.3.attn_k.weight", 12, 1, {static_cast<std::int32_t>(row)}}};
    zoq::write_dense_mask(path, m, as_hf);
    const auto file = zoq::safetensors_file::open(path);
    const auto& t = file.tensor("model.layers.3.self_attn.k_proj.weight");
    CHECK(t.dtype == "BOOL");
    for (index_t i = 0; i < 12; ++i) {
      CHECK(t.bytes[static_cast<std::size_t>(i)] ==
            std::byte{hf_row[static_cast<std::size_t>(row)] == i});
    }
  }
}

TEST_CASE("dense masks: names of both kinds") {
  CHECK(zoq::gguf_name_of("model.layers.12.mlp.gate_proj.weight") == "blk.12.ffn_gate.weight");
  CHECK(zoq::hf_name_of("llama", "blk.12.attn_output.weight") ==
        "model.layers.12.self_attn.o_proj.weight");
  CHECK(zoq::gguf_name_of("model.embed_tokens.weight") == "token_embd.weight");
  for (const char* name : {"model.layers..mlp.up_proj.weight", "model.layers.1x.mlp.up_proj.weight",
                           "h.1.attn.c_attn.weight", ""}) {
    CHECK(zoq::gguf_name_of(name).empty());
  }
}

TEST_CASE("dense masks: what is no mask, or cannot be turned, is refused") {
  const temporary_folder folder;
  const std::string path = folder / "mask.safetensors";
  const auto error = [&](const std::string& name, const std::string& dtype,
                         const std::vector<index_t>& shape, std::size_t bytes,
                         const zoq::dense_mask_options& options = as_hf) {
    const std::vector<std::byte> ones(bytes, std::byte{1});
    const zoq::safetensor one{name, dtype, shape, ones};
    zoq::write_safetensors(path, std::vector<zoq::safetensor>{one});
    return message_of([&] { zoq::read_dense_mask(path, options); });
  };
  CHECK(error("blk.0.attn_q.weight", "F32", {4, 2}, 32) ==
        path + ": tensor blk.0.attn_q.weight is no matrix of BOOL or U8");
  CHECK(error("blk.0.attn_q.weight", "U8", {8}, 8) ==
        path + ": tensor blk.0.attn_q.weight is no matrix of BOOL or U8");
  CHECK(error("wte.weight", "U8", {4, 2}, 8) ==
        path + ": tensor wte.weight is not known by this name");
  CHECK(error("model.layers.0.self_attn.q_proj.weight", "U8", {8, 2}, 16, {}) ==
        path +
            ": the rows of blk.0.attn_q.weight stand in another order here, which needs the "
            "numbers of heads");
  CHECK(error("model.layers.0.self_attn.q_proj.weight", "U8", {12, 2}, 24) ==
        path + ": blk.0.attn_q.weight has 12 rows, which are not 4 heads of an even size");
  CHECK(error("model.layers.0.self_attn.q_proj.weight", "U8", {8, 2}, 16).empty());
  mask m;
  m.tensors = {{"blk.0.attn_qkv.weight", 1, 4, {1}}};
  CHECK(message_of([&] { zoq::write_dense_mask(path, m, as_hf); }) ==
        path + ": blk.0.attn_qkv.weight has no name in Hugging Face's Llama family");
}
