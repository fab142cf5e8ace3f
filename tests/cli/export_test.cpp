// zoq export, as a user runs it.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/view/delta.hpp"

namespace {

using zoq::test::contents;
using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using zoq::test::tiny_llama;
using arguments = std::vector<std::string>;

struct workshop {
  zoq::test::temporary_folder folder;
  std::string model = folder / "model.gguf", delta = folder / "delta.safetensors";

  workshop() {
    tiny_llama({.config = zoq::test::small_config(), .format = "q4_1"}).write_with_tokenizer(model);
    zoq::delta d;
    d.places.model_hash = zoq::llama::open(model).hash();
    d.places.tensors = {{"blk.0.attn_q.weight", 96, 96, {3, 97, 9000}},
                        {"blk.2.ffn_up.weight", 160, 96, {0, 15000}}};
    d.values = {0.5f, -0.25f, 0.125f, 1.0f, -1.0f};
    zoq::write_delta(delta, d);
  }

  [[nodiscard]] finished export_to(const char* to, const std::string& out,
                                   const arguments& more = {}) const {
    arguments a = {"export", "--model", model, "--delta", delta, "--to", to, "--out", out};
    a.insert(a.end(), more.begin(), more.end());
    return run(a);
  }
  /// The logits after a text, by token.
  [[nodiscard]] std::vector<double> logits(const std::string& of,
                                           const arguments& more = {}) const {
    arguments a = {"inspect", "--model", of, "--text", "some text", "--top", "300", "--json"};
    a.insert(a.end(), more.begin(), more.end());
    std::vector<double> out(300);
    const nlohmann::json line = run(a).json();
    for (const auto& entry : line["top"]) {
      out[entry["id"].get<std::size_t>()] = entry["logit"];
    }
    return out;
  }
};

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double out = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    out = std::max(out, std::abs(a[i] - b[i]));
  }
  return out;
}

TEST_CASE("export: a GGUF file and a folder give the logits that inspect gives with the values") {
  const workshop w;
  const std::vector<double> tuned = w.logits(w.model, {"--delta", w.delta});
  CHECK(largest_difference(w.logits(w.model), tuned) > 1e-3);
  const finished gguf = w.export_to("gguf", w.folder / "out.gguf", {"--json"});
  INFO(gguf.err);
  REQUIRE(gguf.code == 0);
  CHECK(gguf.json()["touched"] == 2);
  CHECK(gguf.json()["change_lost"] == 0);
  CHECK(gguf.json()["view"] == "sparse");
  CHECK(largest_difference(w.logits(w.folder / "out.gguf"), tuned) < 1e-5);
  const finished hf =
      w.export_to("safetensors", w.folder / "hf", {"--shard-size", "100kB", "--json"});
  INFO(hf.err);
  REQUIRE(hf.code == 0);
  CHECK(std::filesystem::exists(w.folder / "hf/model.safetensors.index.json"));
  CHECK(largest_difference(w.logits(w.folder / "hf"), tuned) < 1e-4);
}

TEST_CASE("export: an adapter, and what is said of it") {
  const workshop w;
  const finished done = w.export_to("peft", w.folder / "adapter", {"--json"});
  REQUIRE(done.code == 0);
  CHECK(done.json()["kind"] == "shira");
  CHECK(done.json()["modules"] == 2);
  CHECK(done.json()["rank"] == 1);
  CHECK(done.json()["values"] == 5);
  CHECK(done.json()["filled"] == 96 + 96 + 160 + 96 - 5);
  CHECK(std::filesystem::exists(w.folder / "adapter/adapter_model.safetensors"));
  const finished shown = w.export_to("gguf", w.folder / "f16.gguf", {"--format", "f16"});
  CHECK(shown.code == 0);
  CHECK(shown.out.find("2 of them tuned and now f16") != std::string::npos);
}

TEST_CASE("export: wrong usage, and what is in the way") {
  const workshop w;
  const std::string out = w.folder / "out.gguf";
  CHECK(w.export_to("onnx", out).code == 2);
  CHECK(w.export_to("peft", out, {"--format", "f16"}).code == 2);
  CHECK(w.export_to("gguf", out, {"--shard-size", "1GB"}).code == 2);
  CHECK(w.export_to("gguf", out, {"--format", "lut4"}).code == 2);
  CHECK(run({"export", "--model", w.model, "--to", "peft", "--out", out}).code == 2);
  const finished lora = w.export_to("gguf-lora", out);
  CHECK(lora.code == 1);
  CHECK(lora.err.find("view sparse") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(out));
  put(out, "mine");
  CHECK(w.export_to("gguf", out).code == 1);
  CHECK(w.export_to("safetensors", out).code == 1);
  CHECK(contents(out) == "mine");
  CHECK(w.export_to("gguf", out, {"--force"}).code == 0);
  CHECK(contents(out) != "mine");
}

}  // namespace
