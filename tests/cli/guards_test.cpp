// SPDX-License-Identifier: Apache-2.0
// Numbers that go wrong: in a model, in a run that diverges, in estimates that are rounding alone. And
// the bits of a run, by the command line.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "cli/workshop.hpp"
#include "zoq/exec/instruction_set.hpp"

namespace {

using zoq::test::contents;
using zoq::test::finished;
using zoq::test::run;
using zoq::test::tuning_workshop;

/// The steps' lines of metrics.jsonl.
std::vector<nlohmann::json> steps_of(const tuning_workshop& w, const std::string& out) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(contents((w.folder / out) + "/metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    if (auto one = nlohmann::json::parse(line); one.contains("loss")) {
      lines.push_back(std::move(one));
    }
  }
  return lines;
}

}  // namespace

TEST_CASE("guards: a weight that is NaN or infinite stops tuning and evaluation, by its tensor") {
  const tuning_workshop w;
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    zoq::test::tiny_llama tiny({.config = zoq::test::small_config(), .format = "f32"});
    std::memcpy(tiny.named("blk.2.ffn_up.weight").weight.bytes->data() + 4 * (96 * 7 + 11), &bad,
                4);
    tiny.write_with_tokenizer(w.model);
    const std::string wanted =
        zoq::text("blk.2.ffn_up.weight: the weight at row 7, column 11 is ", bad, "\n");
    const finished tuned = run(w.finetune("out"));
    CHECK(tuned.code == 1);
    CHECK(tuned.err.ends_with("model.gguf: " + wanted));
    CHECK_FALSE(std::filesystem::exists(w.folder / "out"));
    const finished measured = run({"eval", "--model", w.model, "--data", w.rows});
    CHECK(measured.code == 1);
    CHECK(measured.err.ends_with("model.gguf: " + wanted));
  }
}

TEST_CASE("guards: an update that leaves the numbers stops, and what was saved stays") {
  const tuning_workshop w;
  const finished done =
      run(w.finetune("out", {"--learning-rate", "1e300", "--schedule", "constant"}));
  CHECK(done.code == 1);
  CHECK(done.err.find("zoq finetune: step 0: the update made a value ") != std::string::npos);
  CHECK(done.err.find("(blk.") != std::string::npos);
  CHECK(done.err.find("out holds the values after step 0") != std::string::npos);
  CHECK(run({"eval", "--model", w.model, "--data", w.rows, "--delta",
             w.folder / "out/delta.safetensors"})
            .code == 0);
}

TEST_CASE("guards: a run that diverges stops with a code of its own and keeps the best values") {
  // A loss of 1.2 that stays there, and a limit below it: what counts as far above is the user's to say.
  const tuning_workshop w;
  const std::vector<std::string> high = {"--steps",         "100",      "--eval-every", "40",
                                         "--learning-rate", "1e-3",     "--divergence", "0.3",
                                         "--schedule",      "constant", "--json"};
  const finished done = run(w.finetune("out", high));
  CHECK(done.code == 3);
  CHECK(done.err.find("zoq finetune: diverged: stopped after step 50 of 100") != std::string::npos);
  const auto line = done.json();
  REQUIRE(line.is_object());
  CHECK(line["diverged_step"] == 50);
  CHECK(line["best_valid_step"].is_number());
  CHECK(line["accuracy_after"].is_number());
  CHECK(std::filesystem::exists(w.folder / "out/best.safetensors"));
  CHECK(steps_of(w, "out").size() == 50);
  // Going on ends by the same rule, until one says otherwise; then it is the run of one that never looked.
  std::vector<std::string> again = w.finetune("out", high);
  again.push_back("--resume");
  const finished same = run(again);
  CHECK(same.code == 3);
  CHECK(same.json()["diverged_step"] == 50);
  CHECK(same.json()["evaluations"] == 0);
  *(std::find(again.begin(), again.end(), "--divergence") + 1) = "0";
  const finished on = run(again);
  CHECK(on.code == 0);
  CHECK(on.json()["diverged_step"].is_null());
  CHECK(steps_of(w, "out").size() == 100);
  std::vector<std::string> never = w.finetune("never", high);
  *(std::find(never.begin(), never.end(), "--divergence") + 1) = "0";
  CHECK(run(never).code == 0);
  CHECK(w.delta("never") == w.delta("out"));
}

TEST_CASE(
    "guards: estimates that are rounding are told, others are not, and the log has the figure") {
  const tuning_workshop w;
  const finished fine = run(w.finetune("fine", {"--steps", "40", "--json"}));
  REQUIRE(fine.code == 0);
  CHECK(fine.err.find("mostly rounding") == std::string::npos);
  CHECK(fine.json()["signal_to_noise"] > 10);
  const auto lines = steps_of(w, "fine");
  REQUIRE(lines.size() == 40);
  for (const auto& line : lines) {
    CHECK(line["signal_to_noise"].is_number());
  }
  // Moves of 1e-8 are far below what a float's loss resolves.
  const finished tiny =
      run(w.finetune("tiny", {"--steps", "40", "--epsilon", "1e-8", "--json", "--probes", "1"}));
  CHECK(tiny.code == 0);
  CHECK(tiny.err.find("the estimates are mostly rounding, signal to noise ") != std::string::npos);
  CHECK(tiny.json()["signal_to_noise"] < 2);
  CHECK(tiny.json()["evaluations"] == 2 * 40);
  CHECK(tiny.json()["noise_evaluations"] == 24);
}

TEST_CASE("same bits: the command line, on 1, 2, 3 and 8 threads, whole or stopped by Ctrl-C") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("one", {"--threads", "1", "--steps", "40"})).code == 0);
  for (const std::string threads : {"1", "2", "3", "8"}) {
    CAPTURE(threads);
    const std::string out = "on-" + threads;
    const auto command = w.finetune(out, {"--threads", threads, "--steps", "40"});
    zoq::test::running program(command);
    while (!std::filesystem::exists((w.folder / out) + "/checkpoint.safetensors")) {
    }
    program.send(SIGINT);
    const int code = program.wait().code;
    CHECK((code == 128 + SIGINT || code == 0));  // the run may have ended
    // On another number of threads from there.
    auto resumed = w.finetune(out, {"--threads", threads == "1" ? "3" : "1", "--steps", "40"});
    resumed.push_back("--resume");
    REQUIRE(run(resumed).code == 0);
    CHECK(w.delta(out) == w.delta("one"));
  }
}

TEST_CASE("same bits: a run says its kernels, and goes on with these alone") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("out", {"--kernels", "portable", "--compute", "f32"})).code == 0);
  const std::string record = contents(w.folder / "out/trajectory.jsonl");
  CHECK(record.substr(0, record.find('\n')).find(R"("kernels":"portable")") != std::string::npos);
  if (zoq::best_instruction_set() == zoq::instruction_set::portable) {
    return;
  }
  const finished other = run(w.finetune("out", {"--resume", "--compute", "f32"}));
  CHECK(other.code == 1);
  CHECK(other.err.find("kernels \"portable\", asked ") != std::string::npos);
}
