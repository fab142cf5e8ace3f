// zoq quantize, as a user runs it.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/program.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_hf.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/open_model_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/model/llama.hpp"

namespace {

using zoq::index_t;
using zoq::test::contents;
using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using zoq::test::tiny_llama;
using arguments = std::vector<std::string>;

struct workshop {
  zoq::test::temporary_folder folder;
  std::string model = folder / "f32.gguf";
  std::string out = folder / "out.gguf";

  workshop() { tiny_llama({.config = zoq::test::small_config()}).write_with_tokenizer(model); }

  [[nodiscard]] arguments quantize(const arguments& more) const {
    arguments a = {"quantize", "--model", model, "--out", out};
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
};

TEST_CASE("quantize: writes the model that the encoders make, and every command runs it") {
  const workshop w;
  const finished done = run(w.quantize(
      {"--format", "q4_1", "--embedding-format", "q4_1", "--head-format", "q4_1", "--json"}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(std::count(done.out.begin(), done.out.end(), '\n') == 1);
  const std::string wanted = w.folder / "wanted.gguf";
  tiny_llama({.config = zoq::test::small_config(), .format = "q4_1"}).write_with_tokenizer(wanted);
  const arguments look = {"inspect", "--text", "some text", "--json", "--model"};
  arguments at_out = look, at_wanted = look;
  at_out.push_back(w.out);
  at_wanted.push_back(wanted);
  CHECK(run(at_out).json()["model"]["hash"].is_string());
  CHECK(run(at_out).json() == run(at_wanted).json());  // sizes, hash, tokens, logits, loss
}

TEST_CASE("quantize: its report adds up") {
  const workshop w;
  const auto line = run(w.quantize({"--format", "q4_0", "--head-format", "q8_0", "--json"})).json();
  REQUIRE(line.is_object());
  CHECK(line["out"] == w.out);
  CHECK(line["format"] == "q4_0");
  const zoq::llama before = zoq::llama::open(w.model);
  const zoq::llama after = zoq::llama::open(w.out);
  CHECK(line["bytes_before"] == before.byte_count());
  CHECK(line["bytes_after"] == after.byte_count());
  index_t tensors = 0, weights = 0, bytes = 0;
  for (const auto& [kind, sum] : line["kinds"].items()) {
    CAPTURE(kind);
    tensors += sum["tensors"].get<index_t>();
    weights += sum["weights"].get<index_t>();
    bytes += sum["bytes_after"].get<index_t>();
    const bool norm = kind.ends_with("norm");
    CHECK(sum["from"] == nlohmann::json({"f32"}));
    CHECK(sum["to"] == (norm || kind == "token_embd" ? "f32" : kind == "output" ? "q8_0" : "q4_0"));
    CHECK((sum["error"] == 0) == (sum["to"] == "f32"));
  }
  CHECK(line["kinds"].size() == 12);  // seven matrices and two norms of a layer, three beside
  CHECK(line["kinds"]["ffn_down"]["tensors"] == 3);
  CHECK(tensors == static_cast<index_t>(after.tensors().size()));
  CHECK(weights == line["weights"]);
  CHECK(bytes == line["bytes_after"]);
  // The largest part is in q4_0, which errs by about 1/8 / sqrt(12) of a block's largest value.
  CHECK(line["error"] > 0.01);
  CHECK(line["error"] < 0.2);

  // For people: a line a kind and one for all.
  const finished shown = run(w.quantize({"--format", "q4_0", "--force"}));
  CHECK(shown.code == 0);
  CHECK(std::count(shown.out.begin(), shown.out.end(), '\n') == 13);
  CHECK(shown.out.find("f32 -> q4_0") != std::string::npos);
}

TEST_CASE("quantize: every format of the library is a choice") {
  const workshop w;
  zoq::formats::for_each([&]<class S>(S) {
    CAPTURE(S::name);
    const std::string name(S::name);
    const bool in_gguf = S::gguf_type != zoq::no_gguf_type;
    const std::string out = in_gguf ? w.out : w.folder / "out.safetensors";
    const finished done =
        run({"quantize", "--model", w.model, "--out", out, "--format", name, "--force", "--json"});
    INFO(done.err);
    // A block may be too wide for the tiny model; then the program says so.
    if (96 % S::block_size == 0 && 160 % S::block_size == 0) {
      REQUIRE(done.code == 0);
      CHECK(done.json()["kinds"]["attn_q"]["to"] == name);
      CHECK(done.json()["kept_out"].is_null());
      if (!in_gguf) {
        CHECK(run({"inspect", "--model", out, "--text", "some text", "--json"}).code == 0);
        CHECK(run(w.quantize({"--format", name, "--force"})).err.find("no format of GGUF files") !=
              std::string::npos);
      }
    } else {
      CHECK(done.err.find("no multiple of " + name + "'s block") != std::string::npos);
    }
  });
}

TEST_CASE("quantize: dense and sparse of a Hugging Face folder, from mask to measurement") {
  const workshop w;
  zoq::test::tiny_hf folder(tiny_llama({.config = zoq::test::small_config()}));
  folder.add_bytes();
  const std::string floats = w.folder / "floats", places = w.folder / "places.safetensors";
  folder.write(floats, 2);
  const std::string rows = w.folder / "rows.jsonl";
  put(rows, "{\"text\": \"some text to read\"}\n{\"text\": \"and some more of it\"}\n");
  REQUIRE(
      run({"mask", "--model", floats, "--score", "magnitude", "--density", "0.02", "--out", places})
          .code == 0);
  const std::string out = w.folder / "lut4.safetensors";
  const arguments command = {"quantize", "--model", floats,  "--format", "lut4",
                             "--keep",   places,    "--out", out,        "--json"};
  const finished done = run(command);
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto line = done.json();
  CHECK(line["kept"] > 4000);
  CHECK(line["kept_out"] == out + ".kept.safetensors");
  CHECK(line["error_with_kept"] < line["error"]);
  const auto plain = run({"quantize", "--model", floats, "--format", "lut4", "--out",
                          w.folder / "plain.safetensors", "--json"})
                         .json();
  CHECK(line["error_with_kept"] < plain["error"]);

  // What is kept is a delta of the new model, and of it alone.
  const arguments measure = {"eval", "--data", rows, "--json", "--model"};
  const auto loss = [&](const std::string& model, const std::string& kept) {
    arguments a = measure;
    a.push_back(model);
    if (!kept.empty()) {
      a.insert(a.end(), {"--delta", kept});
    }
    const finished measured = run(a);
    INFO(measured.err);
    return measured.code == 0 ? measured.json()["loss"].get<double>() : -1.0;
  };
  const double exact = loss(floats, ""), with_kept = loss(out, out + ".kept.safetensors");
  CHECK(exact > 0);
  CHECK(with_kept > 0);
  CHECK(std::abs(with_kept - exact) < std::abs(loss(out, "") - exact));
  CHECK(loss(floats, out + ".kept.safetensors") == -1.0);

  CHECK(run(command).err.find("--force replaces it") != std::string::npos);
  std::filesystem::remove(out);
  CHECK(run(command).err.find(out + ".kept.safetensors: is there already") != std::string::npos);
}

TEST_CASE("quantize: scores that mask saved say what matters") {
  const workshop w;
  std::string words;
  for (int i = 0; i < 300; ++i) {
    words += "word" + std::to_string(i * i % 97) + " ";
  }
  const std::string text = w.folder / "text.txt", scores = w.folder / "scores.safetensors",
                    places = w.folder / "places.safetensors";
  put(text, words);
  arguments score = {"mask",     "--model", w.model,     "--text", text,    "--samples", "4",
                     "--length", "16",      "--density", "0.01",   "--out", places};
  REQUIRE(run(score).code == 0);
  const std::string plain_mask = contents(places);
  score.insert(score.end(), {"--save-scores", scores});
  REQUIRE(run(score).code == 0);
  CHECK(contents(places) == plain_mask);
  score.back() = places;
  CHECK(run(score).code == 2);

  // Every matrix of a linear layer, none negative; places that were chosen have the largest.
  const auto file = zoq::safetensors_file::open(scores);
  const zoq::llama model = zoq::llama::open(w.model);
  CHECK(file.metadata("score") == "fisher");
  CHECK(file.metadata("model") == model.hash());
  const zoq::mask mask = zoq::read_mask(places);
  CHECK(file.tensors().size() == mask.tensors.size());
  for (const zoq::tensor_mask& t : mask.tensors) {
    std::vector<float> values = file.values<float>(t.tensor);
    CHECK(static_cast<index_t>(values.size()) == t.rows * t.columns);
    float least = values[static_cast<std::size_t>(t.index[0])];
    for (const std::int32_t place : t.index) {
      least = std::min(least, values[static_cast<std::size_t>(place)]);
    }
    CHECK(std::count_if(values.begin(), values.end(), [&](float v) { return v > least; }) <
          static_cast<std::ptrdiff_t>(t.index.size()));
    CHECK(*std::min_element(values.begin(), values.end()) >= 0);
  }

  // With them the sum of score times squared error is smaller, and that of squared errors larger.
  const auto errors = [&](const arguments& more) {
    const std::string out = w.folder / "lut.safetensors";
    arguments command = {"quantize", "--model", w.model,   "--format", "lut3",
                         "--out",    out,       "--force", "--json"};
    command.insert(command.end(), more.begin(), more.end());
    const finished done = run(command);
    INFO(done.err);
    REQUIRE(done.code == 0);
    const zoq::llama made = zoq::llama::from(zoq::open_model_file(out));
    double weighted = 0;
    for (const zoq::model_tensor& t : model.tensors()) {
      if (file.find(t.name) == nullptr) {
        continue;
      }
      const std::vector<float> matters = file.values<float>(t.name);
      const auto& now = made.tensor(zoq::find_tensor(made.tensors(), t.name)).weight;
      std::vector<float> x(static_cast<std::size_t>(t.weight.columns())), y(x.size());
      for (index_t o = 0; o < t.weight.rows(); ++o) {
        t.weight.visit([&](const auto& m) { zoq::decode_row(m, o, x.data()); });
        now.visit([&](const auto& m) { zoq::decode_row(m, o, y.data()); });
        for (std::size_t c = 0; c < x.size(); ++c) {
          const double d = static_cast<double>(y[c]) - static_cast<double>(x[c]);
          weighted +=
              d * d * static_cast<double>(matters[static_cast<std::size_t>(o) * x.size() + c]);
        }
      }
    }
    return std::pair(weighted, done.json()["error"].get<double>());
  };
  const auto [plain, plain_error] = errors({});
  const auto [fitted, fitted_error] = errors({"--importance", scores});
  CHECK(fitted < plain);
  CHECK(fitted_error > plain_error);

  // One of another shape is refused.
  const std::string other = w.folder / "other.gguf";
  auto config = zoq::test::small_config();
  config.feed_forward = 192;
  tiny_llama({.config = config}).write_with_tokenizer(other);
  const finished refused = run({"quantize", "--model", other, "--format", "lut3", "--importance",
                                scores, "--out", w.folder / "no.safetensors"});
  CHECK(refused.code == 1);
  CHECK(refused.err.find("is not of the model's shape") != std::string::npos);
}

TEST_CASE("quantize: a file in the way stays, unless --force") {
  const workshop w;
  put(w.out, "precious");
  const finished refused = run(w.quantize({"--format", "q4_1"}));
  CHECK(refused.code == 1);
  CHECK(refused.err.find(w.out + ": is there already; --force replaces it") != std::string::npos);
  CHECK(contents(w.out) == "precious");
  CHECK(run(w.quantize({"--format", "q4_1", "--force"})).code == 0);
  CHECK(zoq::llama::open(w.out).tensors().size() > 0);

  const std::string model = contents(w.model);
  const finished itself =
      run({"quantize", "--model", w.model, "--out", w.model, "--format", "q4_1", "--force"});
  CHECK(itself.code == 1);
  CHECK(itself.err.find("is read, and cannot be written over") != std::string::npos);
  CHECK(contents(w.model) == model);
}

TEST_CASE("quantize: wrong use is one clear line") {
  const workshop w;
  const std::string tied = w.folder / "tied.gguf";
  tiny_llama({.config = zoq::test::small_config(), .tied = true}).write(tied);
  const std::string cut = w.folder / "cut.gguf";
  put(cut, contents(w.model).substr(0, 5000));
  const std::string elsewhere = w.folder / "no/folder/out.gguf";
  const std::vector<arguments> commands = {
      w.quantize({}),
      w.quantize({"--format", "q4_2"}),
      w.quantize({"--format", "q4_1", "--head-format", "q5"}),
      {"quantize", "--model", tied, "--out", w.out, "--format", "q4_1", "--head-format", "q8_0"},
      {"quantize", "--model", cut, "--out", w.out, "--format", "q4_1"},
      {"quantize", "--model", w.folder / "none.gguf", "--out", w.out, "--format", "q4_1"},
      {"quantize", "--model", w.model, "--out", elsewhere, "--format", "q4_1"}};
  const std::vector<std::string> said = {"--format", "q4_2", "q5",     "tied to the embedding",
                                         cut,        "none", elsewhere};
  for (std::size_t i = 0; i < commands.size(); ++i) {
    CAPTURE(said[i]);
    const finished done = run(commands[i]);
    CAPTURE(done.err);
    CHECK(done.code == (i < 3 ? 2 : 1));
    CHECK(done.err.starts_with("zoq quantize: "));
    CHECK(done.err.find(said[i]) != std::string::npos);
    CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
    CHECK(done.out.empty());
    CHECK_FALSE(std::filesystem::exists(w.out));
  }
  CHECK(run({"quantize", "--help"}).out.find("q4_1") != std::string::npos);
}

TEST_CASE("quantize: a signal leaves nothing behind") {
  // Large enough to take about a second: so the signal comes in the middle of it.
  const workshop w;
  zoq::llama_config large = zoq::test::small_config();
  large.layers = 40;
  large.hidden = 480;
  large.heads = 30;
  large.kv_heads = 10;
  large.feed_forward = 1280;
  tiny_llama({.config = large}).write(w.model);
  const auto entries = w.folder.entries();
  zoq::test::running program(w.quantize({"--format", "q4_1"}));
  for (int waited = 0; waited < 60000 && w.folder.entries() == entries; ++waited) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // until it writes
  }
  program.send(SIGINT);
  const finished stopped = program.wait();
  // A machine may be so slow that the signal finds the work done.
  if (stopped.code != 0) {
    CHECK(stopped.code == 130);
    CHECK(stopped.err.find("stopped; nothing was written") != std::string::npos);
    CHECK(w.folder.entries() == entries);
  }
}

}  // namespace
