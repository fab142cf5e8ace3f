// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/export_folder.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "export/tuned_case.hpp"
#include "io/tiny_vocabulary.hpp"
#include "model/tiny_hf.hpp"
#include "zoq/io/gguf.hpp"
#include "zoq/io/hf_folder.hpp"
#include "zoq/io/hf_writer.hpp"
#include "zoq/io/tokenizer.hpp"
#include "zoq/model/export_peft.hpp"

using zoq::export_folder;
using zoq::index_t;
using zoq::tuned_model;
using namespace zoq::test;

namespace {

std::vector<float> floats_of(const zoq::safetensor& t) {
  std::vector<float> out(t.bytes.size() / sizeof(float));
  std::memcpy(out.data(), t.bytes.data(), t.bytes.size());
  return out;
}

zoq::safetensors_file tensors_in(const std::string& folder, const char* name = "model") {
  return zoq::safetensors_file::open(folder + "/" + name + ".safetensors");
}

}  // namespace

TEST_CASE("export_folder: our reader computes with it what the model does with the values") {
  for (const char* view : {"sparse", "lora:rank=2,alpha=4", "scales:block=16"}) {
    CAPTURE(view);
    for (const auto& config : {tiny_config(), tiny_gpt2_config()}) {
      CAPTURE(config.family);
      for (const bool tied : {false, true}) {
        const tuned_case c(tiny_llama({.config = config, .format = "q4_1", .tied = tied}), view);
        export_folder(tuned_model(c.model, c.values), c.folder / "hf");
        CHECK(zoq::open_model(c.folder / "hf").tied() == tied);
        CHECK(relative_error(tuned_case::logits_in(c.folder / "hf"), c.logits) < 1e-5);
      }
    }
  }
}

TEST_CASE("export_folder: of a folder of floats without values, its tensors again") {
  const temporary_folder folder;
  tiny_hf hf(tiny_llama({.config = small_config(), .format = "bf16"}));
  hf.config["torch_dtype"] = "float32";
  hf.config["zzz"] = 1;
  hf.add_bytes();
  hf.write(folder / "in");
  put(folder / "in/generation_config.json", "{}");
  export_folder(tuned_model(folder / "in"), folder / "out", {.format = "bf16"});
  const auto was = tensors_in(folder / "in"), is = tensors_in(folder / "out");
  CHECK(is.tensors().size() == was.tensors().size());
  for (const zoq::safetensor& t : was.tensors()) {
    CAPTURE(t.name);
    const zoq::safetensor& found = is.tensor(t.name);
    CHECK(found.shape == t.shape);
    CHECK(found.dtype == "BF16");
    if (t.dtype == "BF16") {
      CHECK(std::memcmp(found.bytes.data(), t.bytes.data(), t.bytes.size()) == 0);
    }
  }
  for (const char* same : {"tokenizer.json", "generation_config.json"}) {
    CHECK(contents(folder / "out/" + same) == contents(folder / "in/" + same));
  }
  const auto config = nlohmann::json::parse(contents(folder / "out/config.json"));
  nlohmann::json wanted = hf.config;
  wanted["torch_dtype"] = "bfloat16";
  CHECK(config == wanted);
}

TEST_CASE("export_folder: shards hold each tensor once, within the limit, and are read as one") {
  const tuned_case c(tiny_llama({.format = "q4_1"}), "sparse");
  const tuned_model m(c.model, c.values);
  export_folder(m, c.folder / "whole");
  export_folder(m, c.folder / "parts", {.shard_bytes = 20000});
  std::size_t files = 0, tensors = 0;
  for (const auto& entry : std::filesystem::directory_iterator(c.folder / "parts")) {
    if (entry.path().extension() == ".safetensors") {
      ++files;
      const auto part = zoq::safetensors_file::open(entry.path().string());
      std::size_t bytes = 0;
      for (const zoq::safetensor& t : part.tensors()) {
        bytes += t.bytes.size();
      }
      tensors += part.tensors().size();
      CHECK((bytes <= 20000 || part.tensors().size() == 1));
    }
  }
  CHECK(files > 2);
  CHECK(tensors == m.model().tensors().size());
  CHECK(same_bits(tuned_case::logits_in(c.folder / "parts"),
                  tuned_case::logits_in(c.folder / "whole")));
  const auto index =
      nlohmann::json::parse(contents(c.folder / "parts/model.safetensors.index.json"));
  CHECK(index["weight_map"].size() == tensors);
}

TEST_CASE("export_folder: the tokenizer of a GGUF file comes back as it was") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config()});
  for (const char* kind : {"gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2"}) {
    for (const bool ends : {false, true}) {
      CAPTURE(kind);
      CAPTURE(ends);
      tiny_vocabulary words;
      words.pre = kind;
      words.merge("h", "e");
      words.merge("he", "y");
      const auto bos = static_cast<std::uint32_t>(words.special("<s>", 3));
      words.special("<tool>", 4);
      while (words.tokens.size() < 300) {
        words.special("<unused" + std::to_string(words.tokens.size()) + ">", 3);
      }
      words.more = tiny.writer();
      words.more.set("tokenizer.ggml.bos_token_id", bos);
      words.more.set("tokenizer.ggml.eos_token_id", bos);
      words.more.set("tokenizer.ggml.add_bos_token", ends);
      words.more.set("tokenizer.ggml.add_eos_token", ends);
      words.more.set("tokenizer.chat_template", std::string_view("{{ messages }}"));
      words.write(folder / "m.gguf");
      const std::string out = folder / (kind + std::to_string(ends));
      export_folder(tuned_model(folder / "m.gguf"), out);
      const zoq::tokenizer was(zoq::open_gguf(folder / "m.gguf")), is(zoq::open_hf_folder(out));
      CHECK(is.size() == was.size());
      for (const char* text : {"hey, hehey 1234 they're", "<s>he<tool>\n\n  y", "na\xc3\xafve"}) {
        for (const auto mode : {zoq::special::plain, zoq::special::parsed}) {
          CHECK(is.encode_sequence(text, mode) == was.encode_sequence(text, mode));
        }
      }
      CHECK(is.bos() == was.bos());
      CHECK(is.eos() == was.eos());
      const auto config = nlohmann::json::parse(contents(out + "/tokenizer_config.json"));
      CHECK(config["eos_token"] == "<s>");
      CHECK(config["chat_template"] == "{{ messages }}");
    }
  }
}

TEST_CASE("export_folder: config.json has what the model's own metadata says") {
  const temporary_folder folder;
  tiny_llama({.config = small_config()}).write(folder / "m.gguf");
  const auto config = zoq::hf_config_of(zoq::open_gguf(folder / "m.gguf"), true, "float32");
  CHECK(config["model_type"] == "llama");
  CHECK(config["hidden_size"] == 96);
  CHECK(config["num_key_value_heads"] == 2);
  CHECK(config["head_dim"] == 16);
  CHECK(config["rms_norm_eps"] == 1e-5);  // not the double of the float
  CHECK(config["rope_theta"] == 10000);
  CHECK(config["tie_word_embeddings"] == true);
}

TEST_CASE("export_peft: the base's tensors and the adapter make the tuned ones") {
  for (const bool of_folder : {false, true}) {
    CAPTURE(of_folder);
    for (const char* view : {"sparse", "lora:rank=2,alpha=6", "lora-b:rank=3,alpha=4"}) {
      CAPTURE(view);
      tuned_case c(tiny_llama({.format = "bf16"}), view);
      if (of_folder) {
        tiny_hf(tiny_llama({.format = "bf16"})).write(c.folder / "in");
        c.put_values(c.folder / "in", view);
      }
      const tuned_model m(c.model, c.values);
      export_folder(m, c.folder / "tuned");
      export_folder(tuned_model(c.model), c.folder / "base");
      const zoq::adapter_summary sum = zoq::export_peft(m, c.folder / "adapter");
      const auto config = nlohmann::json::parse(contents(c.folder / "adapter/adapter_config.json"));
      const auto base = tensors_in(c.folder / "base"), tuned = tensors_in(c.folder / "tuned"),
                 adapter = tensors_in(c.folder / "adapter", "adapter_model");
      const bool sparse = std::string(view) == "sparse";
      CHECK(config["peft_type"] == (sparse ? "SHIRA" : "LORA"));
      CHECK(config["r"] == sum.rank);
      CHECK(adapter.tensors().size() == 2 * config["target_modules"].size());
      std::set<std::string> targets;
      index_t values = 0;
      for (const std::string module : config["target_modules"]) {
        CAPTURE(module);
        targets.insert(module + ".weight");
        std::vector<float> w = floats_of(base.tensor(module + ".weight"));
        const index_t rows = base.tensor(module + ".weight").shape[0],
                      columns = base.tensor(module + ".weight").shape[1];
        const std::string prefix = "base_model.model." + module;
        if (sparse) {
          const auto value = adapter.values<float>(prefix + ".shira_weight");
          const auto place = adapter.values<std::int32_t>(prefix + ".shira_indices");
          const std::size_t n = value.size();
          REQUIRE(place.size() == 2 * n);
          CHECK(static_cast<index_t>(n) == sum.rank * (rows + columns));
          std::set<index_t> once;
          for (std::size_t i = 0; i < n; ++i) {
            const index_t at_place = place[i] * columns + place[n + i];
            CHECK(once.insert(at_place).second);
            w[at(at_place)] += value[i];
            values += value[i] != 0 ? 1 : 0;
          }
          CHECK(same_bits(w, floats_of(tuned.tensor(module + ".weight"))));
        } else {
          const auto a = adapter.values<float>(prefix + ".lora_A.weight");
          const auto b = adapter.values<float>(prefix + ".lora_B.weight");
          const double scale = config["lora_alpha"].get<double>() / static_cast<double>(sum.rank);
          for (index_t o = 0; o < rows; ++o) {
            for (index_t i = 0; i < columns; ++i) {
              for (index_t r = 0; r < sum.rank; ++r) {
                w[at(o * columns + i)] +=
                    static_cast<float>(scale) * b[at(o * sum.rank + r)] * a[at(r * columns + i)];
              }
            }
          }
          CHECK(relative_error(w, floats_of(tuned.tensor(module + ".weight"))) < 1e-6);
        }
      }
      CHECK((!sparse || values == c.places.count()));
      CHECK((!sparse || sum.values == c.places.count()));
      for (const zoq::safetensor& t : base.tensors()) {
        CAPTURE(t.name);
        CHECK(targets.contains(t.name) != same_bits(floats_of(t), floats_of(tuned.tensor(t.name))));
      }
    }
  }
}

TEST_CASE("folders: what they cannot hold is refused by name, and nothing is left behind") {
  const auto config = tiny_openelm_config();
  const tuned_case c(tiny_llama({.config = config, .format = "q4_1"}), "sparse");
  const tuned_model m(c.model, c.values);
  const std::string out = c.folder / "out";
  const std::size_t entries = c.folder.entries();
  CHECK(message_of([&] { export_folder(m, out); }).find("openelm") != std::string::npos);
  CHECK(message_of([&] { zoq::export_peft(m, out); }).find("openelm") != std::string::npos);
  const tuned_case s(tiny_llama({.format = "q4_1"}), "scales:block=16");
  const tuned_model scales(s.model, s.values);
  CHECK(message_of([&] { zoq::export_peft(scales, out); }).find("view scales") !=
        std::string::npos);
  CHECK(message_of([&] { export_folder(scales, out, {.format = "q8_0"}); }) ==
        out + ": the format is \"q8_0\", wanted f32, f16 or bf16");
  const tuned_case g(tiny_llama({.config = tiny_gpt2_config(), .format = "q4_1"}), "sparse");
  CHECK(message_of([&] {
          zoq::export_peft(tuned_model(g.model, g.values), out);
        }).find("nn.Linear") != std::string::npos);
  // A third of all weights are too many for r (C + O) of them.
  const tuned_case full(tiny_llama({.format = "q4_1"}), "sparse", 0.9);
  CHECK(message_of([&] {
          zoq::export_peft(tuned_model(full.model, full.values), out);
        }).find("export the whole model") != std::string::npos);
  CHECK(c.folder.entries() == entries);
  put(out, "a file");
  CHECK(message_of([&] { export_folder(scales, out); }) ==
        out + ": is there already, wanted a new folder or an empty one");
  CHECK(contents(out) == "a file");
}
