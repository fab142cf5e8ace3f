// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/hf_folder.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "model/tiny_hf.hpp"
#include "model/tiny_llama.hpp"
#include "ops/samples.hpp"
#include "zoq/io/gguf.hpp"

using zoq::index_t;
using zoq::model_file;
using zoq::open_gguf;
using zoq::open_hf_folder;
using zoq::stored_tensor;
using namespace zoq::test;

namespace {

std::vector<float> decoded(const model_file& file, const std::string& name) {
  const zoq::any_packed w = file.matrix(name);
  std::vector<float> out(static_cast<std::size_t>(w.rows() * w.columns()));
  w.visit([&](const auto& p) {
    for (index_t o = 0; o < w.rows(); ++o) {
      zoq::decode_row(p, o, out.data() + o * w.columns());
    }
  });
  return out;
}

std::string refusal(const temporary_folder& folder, const tiny_hf& model, std::size_t shards = 1) {
  const std::string path = folder / "model";
  std::filesystem::remove_all(path);
  model.write(path, shards);
  const std::string said = message_of([&] { open_hf_folder(path); });
  CHECK(is_one_line(said));
  return said.starts_with(path) ? said.substr(path.size()) : "elsewhere: " + said;
}

// Values that tell every place apart: 1, 2, 3, ...
tiny_hf::tensor numbered(const std::string& name, std::vector<index_t> shape, float first) {
  index_t n = 1;
  for (const index_t extent : shape) {
    n *= extent;
  }
  tiny_hf::tensor out{name, "F32", std::move(shape), {}};
  for (index_t i = 0; i < n; ++i) {
    const float value = first + static_cast<float>(i);
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    out.bytes.insert(out.bytes.end(), bytes, bytes + sizeof value);
  }
  return out;
}

}  // namespace

TEST_CASE("hf_folder: a Llama has the tensors and sizes of its GGUF file") {
  for (const bool tied : {false, true}) {
    for (const char* format : {"f32", "f16", "bf16"}) {
      for (const std::size_t shards : {1u, 3u}) {
        CAPTURE(format);
        CAPTURE(shards);
        const temporary_folder folder;
        const tiny_llama tiny({.format = format, .tied = tied});
        tiny.write(folder / "m.gguf");
        tiny_hf(tiny).write(folder / "m", shards);
        const model_file wanted = open_gguf(folder / "m.gguf");
        const model_file found = open_hf_folder(folder / "m");
        CHECK(found.path() == folder / "m");
        CHECK(found.tensors().size() == wanted.tensors().size());
        for (const stored_tensor& w : wanted.tensors()) {
          CAPTURE(w.name);
          const stored_tensor& f = found.tensor(w.name);
          CHECK(f.shape == w.shape);
          CHECK(f.type == w.type);
          CHECK(f.format == w.format);
          REQUIRE(f.byte_count == w.byte_count);
          const index_t row = w.byte_count / w.rows();
          const bool turned = w.name.find("attn_q.") != std::string::npos ||
                              w.name.find("attn_k.") != std::string::npos;
          for (index_t o = 0; o < w.rows(); ++o) {
            const index_t theirs = turned ? hf_row(o, tiny.config.head_size) : o;
            REQUIRE(std::memcmp(f.data + theirs * row, w.data + o * row,
                                static_cast<std::size_t>(row)) == 0);
          }
        }
        for (const zoq::gguf_value& v : wanted.metadata()) {
          CAPTURE(v.key);
          REQUIRE(found.has(v.key));
          if (v.kind == zoq::gguf_kind::u32) {
            CHECK(found.get_u64(v.key) == wanted.get_u64(v.key));
          } else if (v.kind == zoq::gguf_kind::f32) {
            CHECK(found.get_float(v.key) == wanted.get_float(v.key));
          } else {
            CHECK(found.get_string(v.key) == wanted.get_string(v.key));
          }
        }
        CHECK(found.get_bool("zoq.rotary_halves"));
      }
    }
  }
}

TEST_CASE("hf_folder: tensors are used where they lie, unless they lie crookedly") {
  const temporary_folder folder;
  tiny_hf model(tiny_llama({.format = "f32"}));
  // An F16 norm of 31 values before it moves the next tensor by 2 bytes.
  tiny_hf::tensor odd{"model.layers.0.self_attn.q_proj.bias", "F16", {31}, {}};
  odd.bytes.resize(62);
  model.tensors.insert(model.tensors.begin(), odd);
  model.write(folder / "m");
  const model_file crooked = open_hf_folder(folder / "m");
  for (const stored_tensor& t : crooked.tensors()) {
    const auto place = reinterpret_cast<std::uintptr_t>(t.data);
    CHECK(place % (t.format == "f32" ? 4 : 2) == 0);
  }
  const std::vector<float> same = decoded(crooked, "token_embd.weight");
  CHECK(std::memcmp(same.data(), model.tensors[1].bytes.data(), model.tensors[1].bytes.size()) ==
        0);
}

TEST_CASE("hf_folder: a copy of a tied head and buffers without weights are left out") {
  const temporary_folder folder;
  tiny_hf model(tiny_llama({.tied = true}));
  tiny_hf::tensor copy = model.named("model.embed_tokens.weight");
  copy.name = "lm_head.weight";
  model.tensors.push_back(copy);
  model.tensors.push_back(numbered("model.layers.0.self_attn.rotary_emb.inv_freq", {4}, 1));
  model.write(folder / "m");
  const model_file file = open_hf_folder(folder / "m");
  CHECK(file.find("output.weight") == nullptr);
  CHECK(file.tensors().size() == 20);
}

TEST_CASE("hf_folder: GPT-2's matrices are turned, with and without the body's prefix") {
  for (const std::string body : {"", "transformer."}) {
    const temporary_folder folder;
    tiny_hf model;
    model.config = {{"model_type", "gpt2"},
                    {"n_embd", 4},
                    {"n_head", 2},
                    {"n_layer", 1},
                    {"n_positions", 3},
                    {"activation_function", "gelu_new"},
                    {"layer_norm_epsilon", 1e-5},
                    {"vocab_size", 5}};
    const auto add = [&](const std::string& name, std::vector<index_t> shape) {
      model.tensors.push_back(
          numbered(body + name, std::move(shape), static_cast<float>(1000 * model.tensors.size())));
    };
    add("wte.weight", {5, 4});
    add("wpe.weight", {3, 4});
    add("h.0.ln_1.weight", {4});
    add("h.0.ln_1.bias", {4});
    add("h.0.attn.c_attn.weight", {4, 12});
    add("h.0.attn.c_attn.bias", {12});
    add("h.0.attn.c_proj.weight", {4, 4});
    add("h.0.attn.c_proj.bias", {4});
    add("h.0.ln_2.weight", {4});
    add("h.0.ln_2.bias", {4});
    add("h.0.mlp.c_fc.weight", {4, 16});
    add("h.0.mlp.c_fc.bias", {16});
    add("h.0.mlp.c_proj.weight", {16, 4});
    add("h.0.mlp.c_proj.bias", {4});
    add("ln_f.weight", {4});
    add("ln_f.bias", {4});
    model.tensors.push_back(
        {body + "h.0.attn.bias", "BOOL", {1, 1, 3, 3}, std::vector<std::byte>(9)});
    model.write(folder / "m");
    const model_file file = open_hf_folder(folder / "m");
    CHECK(file.tensors().size() == 16);
    CHECK(file.get_string("general.architecture") == "gpt2");
    CHECK(file.get_u64("gpt2.feed_forward_length") == 16);
    CHECK(file.get_u64("gpt2.context_length") == 3);
    CHECK(file.get_float("gpt2.attention.layer_norm_epsilon") == doctest::Approx(1e-5));
    CHECK(file.tensor("blk.0.attn_qkv.weight").shape == std::vector<index_t>{4, 12});
    const std::vector<float> fused = decoded(file, "blk.0.attn_qkv.weight");
    for (index_t o = 0; o < 12; ++o) {
      for (index_t c = 0; c < 4; ++c) {
        CHECK(fused[static_cast<std::size_t>(o * 4 + c)] == static_cast<float>(4000 + c * 12 + o));
      }
    }
    CHECK(file.tensor("blk.0.ffn_down.weight").shape == std::vector<index_t>{16, 4});
    CHECK(decoded(file, "blk.0.ffn_down.weight")[17] == 12000 + 1 * 4 + 1);  // output 1, input 1
    CHECK(decoded(file, "position_embd.weight")[5] == 1005);
    CHECK(decoded(file, "blk.0.attn_norm.bias") == std::vector<float>{3000, 3001, 3002, 3003});
  }
}

TEST_CASE("hf_folder: OpenELM's sizes go layer by layer, its fused matrices in halves") {
  const temporary_folder folder;
  tiny_hf model;
  model.config = {{"model_type", "openelm"},
                  {"model_dim", 8},
                  {"head_dim", 4},
                  {"num_transformer_layers", 2},
                  {"num_query_heads", {2, 3}},
                  {"num_kv_heads", {1, 1}},
                  {"ffn_multipliers", {0.5, 1.7}},
                  {"ffn_dim_divisor", 4},
                  {"max_context_length", 16},
                  {"rope_freq_constant", 10000},
                  {"activation_fn_name", "swish"},
                  {"normalization_layer_name", "rms_norm"},
                  {"ffn_with_glu", true},
                  {"normalize_qk_projections", true},
                  {"share_input_output_layers", true},
                  {"vocab_size", 6}};
  const index_t heads[] = {2, 3}, wide[] = {4, 16};  // 13.6 is nearer to 12, but for the 90 % rule
  const std::string body = "transformer.";
  model.tensors.push_back(numbered(body + "token_embeddings.weight", {6, 8}, 0));
  for (index_t l = 0; l < 2; ++l) {
    const std::string layer = body + "layers." + std::to_string(l) + ".";
    model.tensors.push_back(numbered(layer + "attn.qkv_proj.weight", {(heads[l] + 2) * 4, 8}, 0));
    model.tensors.push_back(numbered(layer + "attn.q_norm.weight", {4}, 0));
    model.tensors.push_back(numbered(layer + "attn.k_norm.weight", {4}, 0));
    model.tensors.push_back(numbered(layer + "attn.out_proj.weight", {8, heads[l] * 4}, 0));
    model.tensors.push_back(numbered(layer + "attn_norm.weight", {8}, 0));
    model.tensors.push_back(numbered(layer + "ffn_norm.weight", {8}, 0));
    model.tensors.push_back(numbered(layer + "ffn.proj_1.weight", {2 * wide[l], 8}, 0));
    model.tensors.push_back(numbered(layer + "ffn.proj_2.weight", {8, wide[l]}, 0));
  }
  model.tensors.push_back(numbered(body + "norm.weight", {8}, 0));
  model.write(folder / "m");
  const model_file file = open_hf_folder(folder / "m");
  CHECK(file.tensors().size() == 20);
  CHECK(file.get_integers("openelm.attention.head_count") == std::vector<std::int64_t>{2, 3});
  CHECK(file.get_integers("openelm.feed_forward_length") == std::vector<std::int64_t>{4, 16});
  CHECK(file.tensor("blk.1.ffn_gate.weight").shape == std::vector<index_t>{8, 16});
  CHECK(decoded(file, "blk.1.ffn_gate.weight")[0] == 0);
  CHECK(decoded(file, "blk.1.ffn_up.weight")[0] == 16 * 8);
  CHECK(decoded(file, "blk.1.ffn_up.weight").size() == 16 * 8);
  model.named(body + "layers.0.ffn.proj_1.weight") =
      numbered(body + "layers.0.ffn.proj_1.weight", {7, 8}, 0);
  CHECK(refusal(folder, model).find("has 7 rows, wanted two halves") != std::string::npos);
}

TEST_CASE("hf_folder: what is broken is refused by name") {
  const temporary_folder folder;
  const tiny_hf good{tiny_llama()};
  tiny_hf m = good;
  SUBCASE("another kind of model") {
    m.config["model_type"] = "mamba";
    CHECK(refusal(folder, m) ==
          "/config.json: \"model_type\" is \"mamba\", zoq knows llama, gpt2 and openelm");
  }
  SUBCASE("a missing key") {
    m.config.erase("hidden_size");
    CHECK(refusal(folder, m) == "/config.json: key \"hidden_size\" is missing");
  }
  SUBCASE("a size that is none") {
    for (const int none : {-2, 0}) {
      m.config["num_hidden_layers"] = none;
      CHECK(refusal(folder, m) ==
            "/config.json: \"num_hidden_layers\" is no whole number from 1 to 2^31");
    }
    m.config["num_hidden_layers"] = 2;
    m.config["num_attention_heads"] = 1 << 20;
    m.config.erase("head_dim");
    CHECK(refusal(folder, m).find("less than the 1048576 of \"num_attention_heads\"") !=
          std::string::npos);
  }
  SUBCASE("rotary scaling, as old and new folders have it") {
    m.config["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}};
    CHECK(refusal(folder, m) ==
          "/config.json: \"rope_scaling\": \"rope_type\" is \"llama3\", only "
          "\"default\" is supported");
    m.config["rope_scaling"] = nullptr;
    m.config["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 5000.0}};
    CHECK(refusal(folder, m).find("\"yarn\"") != std::string::npos);
  }
  SUBCASE("settings that change what the model computes") {
    m.config["attention_bias"] = true;
    CHECK(refusal(folder, m) ==
          "/config.json: \"attention_bias\" is true, only false is supported");
    m.config["attention_bias"] = false;
    m.config["partial_rotary_factor"] = 0.5;
    CHECK(refusal(folder, m) ==
          "/config.json: \"partial_rotary_factor\" is 0.5, only 1 is supported");
  }
  SUBCASE("a link that leads to itself") {
    m.write(folder / "model");
    const std::string loop = folder / "model/tokenizer.json";
    std::filesystem::create_symlink(loop, loop);
    const std::string said = message_of([&] { open_hf_folder(folder / "model"); });
    CHECK(said == loop + ": cannot be looked at: Too many levels of symbolic links");
  }
  SUBCASE("quantised already") {
    m.config["quantization_config"] = {{"bits", 4}};
    CHECK(refusal(folder, m).find("quantised already") != std::string::npos);
  }
  SUBCASE("a vocabulary of another size") {
    m.config["vocab_size"] = 97;
    CHECK(refusal(folder, m) ==
          "/model.safetensors: tensor model.embed_tokens.weight has 96 rows, "
          "\"vocab_size\" is 97");
  }
  SUBCASE("no head") {
    std::erase_if(m.tensors, [](const auto& t) { return t.name == "lm_head.weight"; });
    CHECK(refusal(folder, m).find("lm_head.weight, is missing") != std::string::npos);
  }
  SUBCASE("a tensor of no model") {
    m.tensors.push_back(numbered("model.layers.0.extra.weight", {4}, 1));
    CHECK(refusal(folder, m) ==
          "/model.safetensors: tensor model.layers.0.extra.weight is not "
          "part of a llama model that zoq knows");
    m.tensors.back().name = "model.layers..mlp.up_proj.weight";
    CHECK(refusal(folder, m).find("is not part of") != std::string::npos);
    m.tensors.back().name = "model.layers.3";
    CHECK(refusal(folder, m).find("is not part of") != std::string::npos);
  }
  SUBCASE("integers") {
    m.named("model.norm.weight").dtype = "I32";
    CHECK(refusal(folder, m) ==
          "/model.safetensors: tensor model.norm.weight is of dtype I32, wanted F32, F16 or BF16");
  }
  SUBCASE("dimensions") {
    m.named("model.norm.weight").shape = {2, 4, 4};
    CHECK(refusal(folder, m) == "/model.safetensors: tensor model.norm.weight has 3 dimensions");
  }
  SUBCASE("nothing in it") {
    std::filesystem::create_directories(folder / "model");
    const std::string said = message_of([&] { open_hf_folder(folder / "model"); });
    CHECK(said.starts_with((folder / "model") + "/config.json: cannot open"));
  }
  SUBCASE("no tensors") {
    m.write(folder / "model");
    std::filesystem::remove(folder / "model/model.safetensors");
    const std::string said = message_of([&] { open_hf_folder(folder / "model"); });
    CHECK(said.starts_with((folder / "model") + "/model.safetensors: cannot open"));
  }
}

TEST_CASE("hf_folder: the index and the shards must agree") {
  const temporary_folder folder;
  const std::string path = folder / "m";
  const auto said = [&] {
    const std::string message = message_of([&] { open_hf_folder(path); });
    CHECK(is_one_line(message));
    return message.substr(std::min(message.size(), path.size()));
  };
  const auto index_with = [&](const std::string& tensor, const nlohmann::json& shard) {
    const std::string file = path + "/model.safetensors.index.json";
    nlohmann::json index = nlohmann::json::parse(contents(file));
    index["weight_map"][tensor] = shard;
    put(file, index.dump());
  };
  tiny_hf(tiny_llama()).write(path, 2);
  const std::string first = "/model-00001-of-00002.safetensors";
  SUBCASE("a shard that is missing") {
    std::filesystem::remove(path + first);
    CHECK(said().starts_with(first + ": cannot open"));
  }
  SUBCASE("a tensor that is missing") {
    index_with("model.more.weight", first.substr(1));
    CHECK(said() == first + ": tensor model.more.weight is missing, the index names it");
  }
  SUBCASE("a tensor of another shard") {
    index_with("model.embed_tokens.weight", "model-00002-of-00002.safetensors");
    CHECK(said() == first + ": tensor model.embed_tokens.weight is not in the index for this file");
  }
  SUBCASE("a name that leads elsewhere") {
    for (const char* name : {"../model.safetensors", "/etc/passwd", "", "model.bin"}) {
      index_with("model.embed_tokens.weight", name);
      CHECK(said() == "/model.safetensors.index.json: tensor model.embed_tokens.weight is in \"" +
                          std::string(name) + "\", wanted the name of a .safetensors file");
    }
    index_with("model.embed_tokens.weight", 3);
    CHECK(said().find("wanted the name of") != std::string::npos);
  }
  SUBCASE("no map") {
    put(path + "/model.safetensors.index.json", "[]");
    CHECK(said() == "/model.safetensors.index.json: is no JSON object");
    put(path + "/model.safetensors.index.json", "{\"weight_map\":{}}");
    CHECK(said().find("head") != std::string::npos);
  }
}

TEST_CASE(
    "hf_folder: any change of a byte of its JSON is an error or another model, never a crash") {
  const temporary_folder folder;
  tiny_hf model{tiny_llama({.config = small_config()})};
  model.add_bytes();
  model.write(folder / "m");
  for (const std::string name : {"/config.json", "/tokenizer.json"}) {
    const std::string path = (folder / "m") + name, good = contents(path);
    const std::size_t step = good.size() / 400 + 1;
    for (std::size_t at = 0; at < good.size(); at += step) {
      for (const char c : {'0', '"', '}', '\xff'}) {
        std::string bad = good;
        bad[at] = c;
        put(path, bad);
        const std::string said = message_of([&] { open_hf_folder(folder / "m"); });
        CHECK((said.empty() || is_one_line(said)));
      }
    }
    put(path, good);
  }
}
