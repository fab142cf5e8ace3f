// The inputs that fuzzing starts from: small files that each reader reads, made by the library's own
// writers.
//
//     zoq::fuzz::write_seeds("seeds");     // seeds/gguf/llama, seeds/mask/dense, ...
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "fuzz/hf_input.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_hf.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/dense_mask_file.hpp"
#include "zoq/io/model_container.hpp"
#include "zoq/model/target.hpp"
#include "zoq/train/checkpoint.hpp"
#include "zoq/train/record.hpp"
#include "zoq/view/delta.hpp"
#include "zoq/view/values_file.hpp"

namespace zoq::fuzz {

class seed_writer {
 public:
  explicit seed_writer(const std::string& folder) : folder_(folder) {}

  /// The path of seed `name` of a target.
  [[nodiscard]] std::string path(const std::string& target, const std::string& name) const {
    std::filesystem::create_directories(folder_ + "/" + target);
    return folder_ + "/" + target + "/" + name;
  }
  void put(const std::string& target, const std::string& name, const std::string& bytes) const {
    test::put(path(target, name), bytes);
  }

 private:
  std::string folder_;
};

/// One layer, few tokens: fuzzers like small files.
inline llama_config seed_config(llama_config c) {
  c.layers = c.by_layer.empty() ? 1 : c.layers;
  c.vocabulary = 4;
  c.context = 8;
  c.feed_forward = c.by_layer.empty() ? 32 : c.feed_forward;
  return c;
}

/// Its tensors for a container; they lie in `tiny`, or in what was copied from it.
inline std::vector<container_tensor> container_of(const test::tiny_llama& tiny) {
  std::vector<container_tensor> out;
  for (const test::tiny_llama::tensor& t : tiny.tensors) {
    const any_packed& w = t.weight.view;
    const auto of = [](const std::byte* from, index_t bytes) {
      return std::vector<std::byte>(from, from + bytes);
    };
    const auto blocks = of(w.bytes(), w.format().bytes(w.rows(), w.columns()));
    const auto rows = of(w.row_data(), w.rows() * w.format().row_bytes);
    out.push_back({t.name, w.format(), w.rows(), w.columns(),
                   [blocks](const auto& put) { put(std::span<const std::byte>(blocks)); },
                   [rows] { return std::span<const std::byte>(rows); }});
  }
  return out;
}

inline void write_model_seeds(const seed_writer& out) {
  const llama_config plain = seed_config(test::tiny_config());
  test::tiny_llama({.config = plain, .format = "q4_0"}).write(out.path("gguf", "llama"));
  test::tiny_llama({.config = seed_config(test::tiny_gpt2_config()), .format = "q8_0"})
      .write(out.path("gguf", "gpt2"));
  test::tiny_llama({.config = seed_config(test::tiny_openelm_config()), .format = "q4_0"})
      .write(out.path("gguf", "openelm"));
  gguf_writer kinds;
  kinds.set("words", std::vector<std::string>{"a", "", "ccc"});
  kinds.set("numbers", std::vector<std::int16_t>{-1, 2, 300});
  kinds.set("reals", std::vector<float>{0.25f, -1.5f});
  kinds.set("wide", std::uint64_t{1} << 63);
  kinds.set("yes", true);
  kinds.write(out.path("gguf", "kinds"));

  const test::tiny_llama lut({.config = plain, .format = "lut4"});
  const std::vector<container_tensor> tensors = container_of(lut);
  test::tiny_llama metadata = lut;
  metadata.tensors.clear();
  write_model_container(out.path("container", "lut4"), metadata.writer().metadata_bytes(), tensors);
}

inline void write_text_seeds(const seed_writer& out) {
  test::tiny_vocabulary words;
  words.merge("h", "e");
  words.merge("he", "l");
  words.special("<|end|>", 3);
  words.special("<pad>", 4);
  words.more.set("tokenizer.ggml.bos_token_id", std::uint32_t{258});
  words.more.set("tokenizer.ggml.add_bos_token", true);
  for (const char* kind : {"smollm", "llama-bpe", "default"}) {
    words.pre = kind;
    words.write(out.path("tokenizer", kind));
  }
  test::tiny_vocabulary few;  // some letters alone: a file that a fuzzer can turn over
  few.tokens.resize('z' - '!');
  few.types.resize(few.tokens.size());
  few.merge("h", "e");
  few.special("<e>", 4);
  few.write(out.path("tokenizer", "few"));

  out.put("text", "words", "It was 10 o'clock,\r\n\n  and all 's well.\t he<pad><|end|>");
  out.put("text", "other", "\xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 \xff\xfe");
  out.put("rows", "choices", "{\"prompt\": \"a\", \"choices\": [\" b\", \" c\"], \"answer\": 1}\n");
  out.put("rows", "completion", "{\"prompt\": \"a\", \"completion\": \"\\u00e9\"}\r\n");
  out.put("rows", "text", "{\"text\": \"It was.\"}\n{\"text\": \"It is.\"}");
  out.put("rows", "preference",
          "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\", \"more\": [[1e3]]}\n");

  const test::tiny_hf folder = small_hf();
  out.put("hf_config", "llama", folder.config.dump());
  nlohmann::json index = {{"weight_map", nlohmann::json::object()}};
  for (const test::tiny_hf::tensor& t : folder.tensors) {
    index["weight_map"][t.name] = "model.safetensors";
  }
  out.put("hf_config", "index", folder.config.dump() + "\n---\n" + index.dump());
  const nlohmann::json gpt2 = {{"model_type", "gpt2"}, {"vocab_size", 300}, {"n_embd", 8},
                               {"n_layer", 1},         {"n_positions", 8},  {"n_head", 2}};
  out.put("hf_config", "gpt2", gpt2.dump());
  const nlohmann::json openelm = {
      {"model_type", "openelm"},       {"vocab_size", 300},
      {"num_transformer_layers", 1},   {"model_dim", 8},
      {"ffn_dim_divisor", 8},          {"head_dim", 4},
      {"ffn_multipliers", {1.5}},      {"max_context_length", 8},
      {"num_query_heads", {2}},        {"num_kv_heads", {1}},
      {"activation_fn_name", "swish"}, {"normalization_layer_name", "rms_norm"},
      {"ffn_with_glu", true},          {"normalize_qk_projections", true}};
  out.put("hf_config", "openelm", openelm.dump());
  for (const char* kind : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    out.put("hf_tokenizer", kind,
            test::tokenizer_json(few, kind).dump() + "\n---\n{\"eos_token\": \"<e>\"}");
  }
  for (const char* policy :
       {"spsa:probes=2", "hizoo:epsilon=0.01", "adam:rate=0.001,beta1=0.9", "momentum:rate=1e-3",
        "gaussian", "subzero:rank=2", "one-cycle:warm_up=0.1", "dpo:beta=0.2", "next-token",
        "lora:rank=4,alpha=8", "hybrid:rank=2,threshold=10", "subspace:of=lora,rank=2,dimension=5",
        "dense:roles=linear+norm", "4-11ffn_gate,attn"}) {
    std::string name = policy;
    std::replace(name.begin(), name.end(), ':', '_');
    out.put("policies", name, policy);
  }
}

inline void write_run_seeds(const seed_writer& out) {
  const std::vector<float> floats = {1, 2, 3};
  const std::vector<std::int32_t> ints = {4, 5};
  const std::vector<safetensor> two = {safetensor_of<float>("f", {3, 1}, floats),
                                       safetensor_of<std::int32_t>("i", {2}, ints),
                                       safetensor_of<float>("none", {0}, {})};
  write_safetensors(out.path("safetensors", "two"), two, {{"format", "pt"}, {"a", "b"}});

  mask places;
  places.model_hash = "abc";
  places.tensors.push_back({"blk.0.attn_q.weight", 32, 32, {3, 17, 1023}});
  places.tensors.push_back({"blk.1.ffn_down.weight", 32, 64, {0, 9}});
  write_mask(out.path("mask", "places"), places);
  write_dense_mask(out.path("mask", "dense"), {{{"blk.0.attn_q.weight", 8, 2, {1, 9}}}, "", {}});
  write_dense_mask(out.path("mask", "dense_hf"), {{{"blk.0.attn_q.weight", 8, 2, {1, 9}}}, "", {}},
                   {.names = naming::hf, .heads = 2, .kv_heads = 2});

  const serial exec;
  const llama model = test::tiny_llama().model();
  view_target target = target_of(model);
  target.places = &places;
  target.tokens = {3, 1, 4};
  target.selection = select("0", "attn_v,ffn");
  for (const char* name :
       {"sparse", "dense:roles=norm", "lora:rank=1", "lora-b:rank=1", "prompt:rows=2",
        "prefix:rows=1", "residual-prompt:rows=2,width=1", "scales:block=32",
        "hybrid:rank=1,threshold=1", "subspace:of=lora,rank=1,dimension=5"}) {
    const auto how = policy_named<any_view>("view", name);
    const laid_out_view view(exec, layout_of(exec, how, target));
    save_values(out.path("values", std::string(name_of(how))), exec, how, target, view, "abc");
  }
  write_checkpoint(out.path("checkpoint", "plain"), {7, {1, 2, 3}, {0.5f}, "run"});
  write_checkpoint(out.path("checkpoint", "estimator"), {9, {1, 2, 3}, {}, "run", {1, 2, 3, 4}});
  const std::vector<std::vector<answer>> losses = {{{0.5}, {0.25}}, {{1e-3}, {2}}};
  trajectory_writer(out.path("trajectory", "two"),
                    {{"zoq", "trajectory.1"}, {"seed", 7}, {"mask_from", {{"score", "fisher"}}}},
                    losses);
}

/// What the mini-trainer takes: models of all kinds of files with tokenizers, rows, a text, a mask and a
/// delta for the model of the GGUF file.
inline void write_models(const std::string& folder) {
  std::filesystem::create_directories(folder + "/rows");
  llama_config c = test::tiny_config();
  c.vocabulary = 300;
  const test::tiny_llama tiny({.config = c, .format = "q4_0"});
  tiny.write_with_tokenizer(folder + "/model.gguf");
  test::tiny_hf hf(test::tiny_llama({.config = c, .format = "f16"}));
  hf.add_bytes();
  hf.write(folder + "/hf", 2);

  test::tiny_vocabulary words;
  test::tiny_llama lut({.config = c, .format = "lut4"});
  const std::vector<container_tensor> tensors = container_of(lut);
  while (words.tokens.size() < 300) {
    words.special("<unused" + std::to_string(words.tokens.size()) + ">", 3);
  }
  lut.tensors.clear();
  words.more = lut.writer();
  write_model_container(folder + "/lut4.safetensors", words.writer().metadata_bytes(), tensors);

  for (const char* name : {"train", "valid", "test"}) {
    std::string lines;
    for (int i = 0; i < 8; ++i) {
      lines += "{\"prompt\": \"row " + std::to_string(i) +
               "\", \"choices\": [\" no\", \" yes\"], \"answer\": " + std::to_string(i % 2) + "}\n";
    }
    test::put(folder + "/rows/" + name + ".jsonl", lines);
  }
  test::put(folder + "/text.txt", std::string(400, 'a'));
  const llama model = tiny.model();
  mask places{{{"blk.0.attn_q.weight", 32, 32, {3, 17, 1023}}}, model.hash(), {}};
  write_mask(folder + "/mask.safetensors", places);
  write_delta(folder + "/delta.safetensors", {places, {0.1f, -0.1f, 0.2f}});
}

/// FOLDER/TARGET/NAME for every target.
inline void write_seeds(const std::string& folder) {
  const seed_writer out(folder);
  write_model_seeds(out);
  write_text_seeds(out);
  write_run_seeds(out);
}

}  // namespace zoq::fuzz
