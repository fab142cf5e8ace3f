// What the mini-trainer writes over, and what a run's folder must hold to go on.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cli/program.hpp"
#include "cli/refused.hpp"
#include "cli/workshop.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/core/error.hpp"

namespace {

using zoq::test::contents;
using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using zoq::test::tuning_workshop;
using zoq::test::with;
using arguments = std::vector<std::string>;

void refused(const arguments& command, const std::string& why) {
  zoq::test::check_refused(command, 1, why);
}

/// The lines of a file but for those that hold this.
void drop_lines(const std::string& path, const std::string& with) {
  std::string kept;
  std::string rest = contents(path);
  while (!rest.empty()) {
    const std::string line = rest.substr(0, rest.find('\n') + 1);
    kept += line.find(with) == std::string::npos ? line : "";
    rest.erase(0, line.size());
  }
  put(path, kept);
}

TEST_CASE("files: what a command reads is not written over, by no other name either") {
  const tuning_workshop w;
  const std::string model = contents(w.model), text = contents(w.text);
  const arguments mask = {"mask",      "--model", w.model,    "--text", w.text,
                          "--samples", "2",       "--length", "8"};
  const std::string no = "is read, and cannot be written over",
                    other = "is there already, and no .safetensors file";
  refused(with(mask, {"--out", w.model}), other);
  refused(with(mask, {"--out", w.text}), other);
  refused(with(mask, {"--out", w.folder / "m.safetensors", "--save-scores", w.model}), other);
  REQUIRE(run(w.finetune("run")).code == 0);
  const std::string delta = (w.folder / "run") + "/delta.safetensors",
                    link = w.folder / "link.safetensors";
  std::filesystem::create_hard_link(delta, link);
  const std::string values = contents(delta),
                    record = contents((w.folder / "run") + "/trajectory.jsonl");
  refused(with(mask, {"--delta", delta, "--out", link}), no);
  refused(
      {"export", "--model", w.model, "--delta", delta, "--to", "gguf", "--out", link, "--force"},
      no);
  const std::string places = (w.folder / "run") + "/mask.safetensors";
  refused({"quantize", "--model", w.model, "--format", "q8_0", "--keep", places, "--out", places,
           "--force"},
          no);
  refused({"replay", "--run", w.folder / "run", "--out",
           (w.folder / "run") + "/../run/mask.safetensors"},
          no);
  refused({"replay", "--run", w.folder / "run", "--out", (w.folder / "run") + "/trajectory.jsonl"},
          other);
  refused({"replay", "--run", w.folder / "run", "--out", w.model}, other);
  refused({"report", w.folder / "run", "--out", w.model}, "is there already, and no .html file");
  CHECK(run({"report", w.folder / "run"}).code == 0);
  CHECK(run({"report", w.folder / "run"}).code == 0);  // again
  CHECK(contents(w.model) == model);
  CHECK(contents(w.text) == text);
  CHECK(contents(delta) == values);
  CHECK(contents((w.folder / "run") + "/trajectory.jsonl") == record);
}

TEST_CASE("files: a pipe in the place of a result stays one") {
  const tuning_workshop w;
  const std::string pipe = w.folder / "pipe.safetensors";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const std::string why = pipe + ": is a device or a pipe, wanted a file";
  refused({"mask", "--model", w.model, "--score", "magnitude", "--out", pipe}, why);
  refused({"quantize", "--model", w.model, "--format", "q8_0", "--out", pipe, "--force"}, why);
  CHECK(std::filesystem::is_fifo(pipe));
}

TEST_CASE("files: descriptors that came closed take no file: nothing is written into it") {
  const tuning_workshop w;
  const std::string to = w.folder / "to.gguf", wanted = w.folder / "wanted.gguf";
  const auto command = [&](const std::string& out) {
    return zoq::text("'", ZOQ_CLI_PATH, "' quantize --format q8_0 --model '", w.model, "' --out '",
                     out, "'");
  };
  REQUIRE(std::system((command(wanted) + " >/dev/null 2>&1").c_str()) == 0);
  CHECK(std::system((command(to) + " <&- >/dev/null 2>&-").c_str()) == 0);
  CHECK(contents(to) == contents(wanted));
  CHECK(std::system((command(w.folder / "third.gguf") + " >&- 2>&-").c_str()) !=
        0);  // its output is lost
  CHECK(contents(w.folder / "third.gguf") == contents(wanted));
}

TEST_CASE("files: what a run goes on from is asked for, file by file") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run")).code == 0);
  const std::string run_folder = w.folder / "run";
  const auto resumed = [&](const std::string& without, const std::string& why, auto&& change) {
    CAPTURE(without);
    const std::string copy = w.folder / without;
    std::filesystem::copy(run_folder, copy);
    change(copy + "/");
    arguments a = w.finetune(without);
    a.push_back("--resume");
    refused(a, why);
  };
  resumed("no-metrics", "no-metrics/metrics.jsonl: holds 0 steps, the checkpoint 12",
          [](const std::string& in) { std::filesystem::remove(in + "metrics.jsonl"); });
  resumed("gap", "gap/metrics.jsonl:6: is of step 7, wanted 6",
          [](const std::string& in) { drop_lines(in + "metrics.jsonl", "\"step\":6,"); });
  resumed("no-best", "no-best/best.safetensors: cannot open",
          [](const std::string& in) { std::filesystem::remove(in + "best.safetensors"); });
  resumed("cut-best", "cut-best/best.safetensors: ", [](const std::string& in) {
    std::filesystem::resize_file(in + "best.safetensors", 40);
  });
  REQUIRE(run(w.finetune("short", {"--steps", "3", "--eval-every", "1"})).code == 0);
  resumed("other-best", "did best; --force starts again", [&](const std::string& in) {
    std::filesystem::copy_file((w.folder / "short") + "/best.safetensors", in + "best.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
  });
  std::filesystem::copy(run_folder, w.folder / "whole");
  arguments whole = w.finetune("whole");
  whole.push_back("--resume");
  CHECK(run(whole).code == 0);
}

TEST_CASE("files: the values that a run began with, to go on and to replay") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("from")).code == 0);
  const std::string start = (w.folder / "from") + "/delta.safetensors";
  const arguments more = {"--start", start, "--steps", "4"};
  REQUIRE(run(w.finetune("run", more)).code == 0);
  const std::string replayed = w.folder / "replayed.safetensors";
  const arguments replay = {"replay", "--run", w.folder / "run", "--out", replayed};
  REQUIRE(run(replay).code == 0);
  arguments again = w.finetune("run", more);
  again.push_back("--resume");
  REQUIRE(run(again).code == 0);
  const std::string first = (w.folder / "run") + "/start.safetensors";
  const std::string kept = contents(first);
  std::filesystem::copy_file(start, first, std::filesystem::copy_options::overwrite_existing);
  CHECK(run(replay).code == 0);  // these are the values
  std::filesystem::copy_file((w.folder / "run") + "/delta.safetensors", first,
                             std::filesystem::copy_options::overwrite_existing);
  refused(replay, "run/start.safetensors: not the values that the run began with");
  refused(again, "run/start.safetensors: not the values that the run began with");
  std::filesystem::remove(first);
  refused(replay, "run/start.safetensors: is missing: the values that the run began with");
  refused(again, "run/start.safetensors: is missing: the values that the run began with");
  put(first, kept);
  CHECK(run(again).code == 0);

  arguments over = w.finetune("from", {"--start", start, "--force"});
  const std::string before = contents(start);
  refused(over, "lies in the folder that --force begins anew");
  CHECK(contents(start) == before);
}

TEST_CASE("files: weights that are no numbers are said, and not passed on") {
  const tuning_workshop w;
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    zoq::test::tiny_llama model({.config = zoq::test::small_config(), .format = "q4_1"});
    auto& norm = model.named("blk.1.ffn_norm.weight").weight;
    std::vector<float> values = norm.decoded();
    const auto columns = static_cast<zoq::index_t>(values.size());
    values[5] = bad;
    norm = zoq::test::pack("f32", values, 1, columns);
    model.write_with_tokenizer(w.model);
    const std::string why =
        zoq::text(w.model, ": blk.1.ffn_norm.weight: the weight at row 0, column 5 is ", bad);
    refused({"inspect", "--model", w.model, "--text", "fine"}, why);
    refused({"generate", "--model", w.model, "--prompt", "fine"}, why);
    refused({"quantize", "--model", w.model, "--format", "q8_0", "--out", w.folder / "q.gguf"},
            why);
    refused({"export", "--model", w.model, "--to", "gguf", "--out", w.folder / "e.gguf"}, why);
    CHECK_FALSE(std::filesystem::exists(w.folder / "q.gguf"));
    CHECK_FALSE(std::filesystem::exists(w.folder / "e.gguf"));
  }
}

TEST_CASE("files: an embedding with rows for more tokens than there are gives none of these") {
  const tuning_workshop w;
  zoq::test::tiny_llama model({.config = zoq::test::small_config(), .format = "q4_1"});
  zoq::test::tiny_vocabulary words;
  words.more = model.writer();
  words.write(w.model);
  REQUIRE(static_cast<zoq::index_t>(words.tokens.size()) < model.config.vocabulary);
  const finished looked =
      run({"inspect", "--model", w.model, "--text", "fine", "--top", "100000", "--json"});
  CAPTURE(looked.err);
  REQUIRE(looked.code == 0);
  CHECK(looked.json()["top"].size() == words.tokens.size());
  const finished made = run({"generate", "--model", w.model, "--prompt", "fine", "--tokens", "20",
                             "--temperature", "100"});
  CHECK(made.code == 0);
}

}  // namespace
