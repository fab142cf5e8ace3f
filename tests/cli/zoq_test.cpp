// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "cli/program.hpp"
#include "cli/workshop.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/view/delta.hpp"

namespace {

using zoq::test::contents;
using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using arguments = std::vector<std::string>;
using zoq::test::tuning_workshop;

TEST_CASE("R1: finetune writes the folder of a run and one line of JSON, by two losses a step") {
  const tuning_workshop w;
  const finished done = run(w.finetune("run", {"--json", "--probes", "1"}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto line = done.json();
  REQUIRE(line.is_object());
  for (const char* key :
       {"accuracy_before", "accuracy_after", "loss_before", "loss_after", "steps", "trainable",
        "seconds", "forward_tokens", "tokens_per_second", "peak_rss_bytes"}) {
    CAPTURE(key);
    CHECK(line[key].is_number());
  }
  CHECK(std::count(done.out.begin(), done.out.end(), '\n') == 1);
  CHECK(line["steps"] == 12);
  CHECK(line["evaluations"] == 2 * 12);  // two losses a step, and nothing else
  for (const char* name : {"delta.safetensors", "best.safetensors", "checkpoint.safetensors",
                           "trajectory.jsonl", "metrics.jsonl", "mask.safetensors"}) {
    CAPTURE(name);
    CHECK(std::filesystem::exists((w.folder / "run/") + name));
  }
  const zoq::delta d = zoq::read_delta(w.folder / "run/delta.safetensors");
  CHECK(line["trainable"] == d.places.count());
  CHECK(zoq::read_mask(w.folder / "run/mask.safetensors").hash() == d.places.hash());

  // The accuracy that it printed is that of the delta on the same rows.
  const finished again = run({"eval", "--model", w.model, "--data", w.rows, "--delta",
                              w.folder / "run/delta.safetensors", "--compute", "auto", "--json"});
  REQUIRE(again.code == 0);
  CHECK(again.json()["accuracy"] == line["accuracy_after"]);
  CHECK(again.json()["loss"] == line["loss_after"]);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they map terabytes
TEST_CASE("R20: mask, tuning and evaluation within 512 MiB of address space, on 2 threads") {
  const tuning_workshop w;
  const finished done =
      run(w.finetune("run", {"--threads", "2", "--json"}), std::size_t{512} << 20);
  INFO(done.err);
  CHECK(done.code == 0);
}
#endif

TEST_CASE("the same delta to the bit: again, on other threads, in other batches of branches") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("one")).code == 0);
  REQUIRE(run(w.finetune("two")).code == 0);
  REQUIRE(run(w.finetune("three", {"--threads", "1"})).code == 0);
  REQUIRE(run(w.finetune("four", {"--eval-rows", "0", "--eval-every", "0"})).code == 0);
  CHECK(!w.delta("one").empty());
  CHECK(w.delta("one") == w.delta("two"));
  CHECK(w.delta("one") == w.delta("three"));
  CHECK(w.delta("one") == w.delta("four"));
}

TEST_CASE("replay makes the same delta from the record alone") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run")).code == 0);
  const finished done = run({"replay", "--run", w.folder / "run", "--out", w.folder / "again"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(contents(w.folder / "again") == w.delta("run"));
}

TEST_CASE("a run that is cut goes on to the same bits") {
  const tuning_workshop w;
  const arguments whole = w.finetune("whole", {"--steps", "300", "--eval-every", "100"});
  REQUIRE(run(whole).code == 0);
  const arguments cut = w.finetune("cut", {"--steps", "300", "--eval-every", "100"});
  arguments resumed = cut;
  resumed.push_back("--resume");

  int signal = 0;
  SUBCASE("killed") { signal = SIGKILL; }
  SUBCASE("interrupted") { signal = SIGINT; }
  SUBCASE("terminated") { signal = SIGTERM; }
  zoq::test::running program(cut);
  const std::string record = w.folder / "cut/trajectory.jsonl";
  for (int waited = 0; waited < 60000; ++waited) {  // until some steps are recorded
    const std::string so_far = contents(record);
    if (std::count(so_far.begin(), so_far.end(), '\n') > 20) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  program.send(signal);
  const finished stopped = program.wait();
  // A machine may be so slow or so fast that the run had ended: then there is nothing to resume.
  if (stopped.code != 0) {
    CHECK(stopped.code == (signal == SIGKILL ? 1000 + SIGKILL : 128 + signal));
  }
  const finished done = run(resumed);
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(w.delta("cut") == w.delta("whole"));
  CHECK(contents(record) == contents(w.folder / "whole/trajectory.jsonl"));
  CHECK(contents(w.folder / "cut/best.safetensors") ==
        contents(w.folder / "whole/best.safetensors"));

  // Going on with other settings is refused.
  resumed.insert(resumed.end(), {"--seed", "7"});
  const finished other = run(resumed);
  CHECK(other.code == 1);
  CHECK(other.err.find("seed") != std::string::npos);
}

TEST_CASE("a folder with a run is not overwritten by mistake") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run")).code == 0);
  const std::string before = w.delta("run");
  const finished refused = run(w.finetune("run", {"--seed", "1"}));
  CHECK(refused.code == 1);
  CHECK(refused.err.find("--resume") != std::string::npos);
  CHECK(w.delta("run") == before);
  CHECK(run(w.finetune("run", {"--seed", "1", "--force"})).code == 0);
  CHECK(w.delta("run") != before);
  // --resume in an empty folder starts at the first step.
  CHECK(run(w.finetune("new", {"--resume", "--seed", "1"})).code == 0);
  CHECK(w.delta("new") == w.delta("run"));
}

TEST_CASE("R12: one mask file, many tasks, another model's is refused") {
  const tuning_workshop w;
  const std::string mask = w.folder / "mask.safetensors";
  const finished made = run({"mask", "--model", w.model, "--text", w.text, "--density", "0.01",
                             "--samples", "4", "--length", "16", "--out", mask, "--json"});
  INFO(made.err);
  REQUIRE(made.code == 0);
  CHECK(made.json()["count"] == zoq::read_mask(mask).count());
  REQUIRE(run(w.finetune("run", {"--seed", "3"})).code == 0);

  // Of a mask that is made, its options too; of one in a file its path alone.
  const auto with_mask = [&](arguments a) {
    const auto at = std::find(a.begin(), a.end(), "fisher:" + w.text);
    *at = mask;
    a.erase(at + 1, at + 7);  // --density, --mask-samples, --mask-length
    return a;
  };
  arguments with_file = with_mask(w.finetune("file", {"--seed", "3"}));
  REQUIRE(run(with_file).code == 0);
  // The mask of seed 0 and of seed 3 are made from the same windows or not: what the file says
  // counts.
  CHECK(zoq::read_delta(w.folder / "file/delta.safetensors").places.hash() ==
        zoq::read_mask(mask).hash());

  zoq::test::tiny_llama({.config = zoq::test::small_config(), .format = "q8_0"})
      .write_with_tokenizer(w.model);
  const finished refused = run(with_file);
  CHECK(refused.code == 1);
  with_file.back() = "x";
  const finished other = run(with_mask(w.finetune("elsewhere")));
  CHECK(other.code == 1);
  CHECK(other.err.find("another model") != std::string::npos);
  CHECK(other.err.find(mask) != std::string::npos);
}

TEST_CASE("options come from a file too, the command line wins, twice is an error") {
  const tuning_workshop w;
  const std::string config = w.folder / "options.toml";
  put(config, "model = \"" + w.model + "\"\ntext = \"abc\"\ntop = 3\njson = true\n");
  const finished all = run({"inspect", "--config", config});
  INFO(all.err);
  REQUIRE(all.code == 0);
  CHECK(all.json()["top"].size() == 3);
  CHECK(run({"inspect", "--config", config, "--top", "5"}).json()["top"].size() == 5);

  const finished twice =
      run({"inspect", "--model", w.model, "--text", "a", "--top", "1", "--top", "2"});
  CHECK(twice.code == 2);
  CHECK(twice.err.find("--top is given twice") != std::string::npos);
  put(config, "model = \"" + w.model + "\"\ntop = 3\ntop = 4\n");
  const finished twice_in_file = run({"inspect", "--config", config});
  CHECK(twice_in_file.code == 2);
  CHECK(twice_in_file.err.find("top is given twice") != std::string::npos);
  put(config, "model = \"" + w.model + "\"\nno-such-option = 3\n");
  const finished unknown = run({"inspect", "--config", config});
  CHECK(unknown.code == 2);
  CHECK(unknown.err.find("no-such-option") != std::string::npos);
}

TEST_CASE("inspect and generate") {
  const tuning_workshop w;
  const finished done =
      run({"inspect", "--model", w.model, "--text", "h\xc3\xa9llo", "--top", "2", "--json"});
  REQUIRE(done.code == 0);
  // The tiny vocabulary has a token for every byte, and its id is the byte.
  CHECK(done.json()["tokens"] == nlohmann::json({0x68, 0xc3, 0xa9, 0x6c, 0x6c, 0x6f}));
  CHECK(done.json()["top"].size() == 2);
  CHECK(done.json()["top"][0]["logit"] >= done.json()["top"][1]["logit"]);
  CHECK(done.json()["loss"].is_number());
  put(w.folder / "t", "h\xc3\xa9llo");
  CHECK(run({"inspect", "--model", w.model, "--text-file", w.folder / "t", "--top", "2", "--json"})
            .json() == done.json());

  const arguments greedy = {"generate", "--model",  w.model, "--prompt",
                            "ab",       "--tokens", "5",     "--json"};
  const finished first = run(greedy);
  REQUIRE(first.code == 0);
  CHECK(first.json()["tokens"].size() == 5);
  // The next token after the prompt is the one of the largest logit.
  CHECK(first.json()["tokens"][0] ==
        run({"inspect", "--model", w.model, "--text", "ab", "--json"}).json()["top"][0]["id"]);
  arguments drawn = greedy;
  drawn.insert(drawn.end(), {"--temperature", "2", "--seed", "5"});
  CHECK(run(drawn).json() == run(drawn).json());
}

TEST_CASE("bad input: one clear line, a code that is not 0, nothing half-written") {
  const tuning_workshop w;
  struct bad {
    arguments command;
    std::string said;  // what the message must hold
  };
  const std::string broken = w.folder / "broken.gguf";
  put(broken, "GGML" + std::string(100, 'x'));
  const std::string whole = contents(w.model);
  const std::string cut = w.folder / "cut.gguf";
  put(cut, whole.substr(0, whole.size() - 100));
  const std::string version = w.folder / "version.gguf";
  put(version, whole.substr(0, 4) + "\x02" + whole.substr(5));
  const auto rows_of = [&](const char* name, const std::string& train) {
    const std::string folder = w.folder / name;
    std::filesystem::create_directory(folder);
    for (const char* part : {"/valid.jsonl", "/test.jsonl"}) {
      put(folder + part, contents(w.rows + part));
    }
    put(folder + "/train.jsonl", train);
    return folder;
  };
  const std::string row = R"({"prompt": "a", "choices": [" no", " yes"], "answer": 0})";
  const std::string outside =
      rows_of("outside", row + "\n" + R"({"prompt": "a", "choices": ["x", "y"], "answer": 2})");
  const std::string empty_line = rows_of("empty", row + "\n\n" + row);
  const std::string no_json = rows_of("no_json", row + "\n{\"prompt\": ");
  const auto with = [&](const std::string& option, const std::string& value) {
    arguments a = w.finetune("out");
    const auto at = std::find(a.begin(), a.end(), option);
    if (at != a.end()) {
      *(at + 1) = value;
    } else {
      a.insert(a.end(), {option, value});
    }
    return a;
  };
  const std::vector<bad> all = {
      {with("--model", broken), "broken.gguf: not a GGUF file"},
      {with("--model", cut), "cut.gguf"},
      {with("--model", version), "version 2"},
      {with("--model", w.folder / "missing.gguf"), "missing.gguf"},
      {with("--data", outside), "train.jsonl:2: answer 2 is outside the 2 choices"},
      {with("--data", empty_line), "train.jsonl:2: empty line"},
      {with("--data", no_json), "train.jsonl:2: broken JSON"},
      {with("--data", w.folder / "nowhere"), "nowhere/train.jsonl"},
      {with("--mask", w.folder / "no.mask"), "no.mask"},
      {with("--mask", "fisher:" + (w.folder / "no.txt")), "no.txt"},
      {with("--density", "0"), "density"},
      {with("--density", "2"), "density"},
      {with("--density", "nan"), "density"},
      {with("--learning-rate", "nan"), "learning-rate"},
      {with("--learning-rate", "-1"), "learning-rate"},
      {with("--epsilon", "0"), "epsilon"},
      {with("--epsilon", "1e-2x"), "epsilon"},
      {with("--steps", "0"), "steps"},
      {with("--batch-size", "-3"), "batch-size"},
      {with("--schedule", "cubic"), "cubic"},
      {with("--no-such-option", "1"), "no-such-option"},
      {with("--mask-length", "100000"), "text.txt"},
      {with("--device", "tpu"), "tpu"},
      {with("--device", "cuda"), "--threads are for --device cpu"},
  };
  for (const bad& b : all) {
    CAPTURE(b.said);
    const finished done = run(b.command);
    CAPTURE(done.err);
    CHECK((done.code == 1 || done.code == 2));
    CHECK(done.err.find(b.said) != std::string::npos);
    CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
    CHECK(done.out.empty());
    const bool nothing =
        !std::filesystem::exists(w.folder / "out") || std::filesystem::is_empty(w.folder / "out");
    CHECK(nothing);
  }
  // On a device, or one line that says what is missing: CUDA in this build, or the device.
  const finished there = run({"eval", "--model", w.model, "--data", w.rows, "--device", "cuda"});
  const bool told = there.code == 1 && there.err.find("zoq eval: --device cuda: ") == 0 &&
                    std::count(there.err.begin(), there.err.end(), '\n') == 1;
  CHECK((there.code == 0 || told));
  CHECK(run({}).code == 2);
  CHECK(run({"no-such-command"}).code == 2);
  for (const char* command : {"finetune", "mask", "eval", "inspect", "generate", "replay"}) {
    const finished help = run({command, "--help"});
    CHECK(help.code == 0);
    CHECK(help.out.find("--") != std::string::npos);
  }
}

}  // namespace
