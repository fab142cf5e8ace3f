// SPDX-License-Identifier: Apache-2.0
// Every policy that `zoq policies` lists, through `zoq finetune` on a tiny model.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"

namespace {

using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using zoq::test::temporary_folder;
using arguments = std::vector<std::string>;

const char* const choices =
    R"({"prompt": "A fine film. It was", "choices": [" bad", " good"], "answer": 1}
{"prompt": "Dull. It was", "choices": [" bad", " good"], "answer": 0}
{"prompt": "A treat. It was", "choices": [" bad", " good"], "answer": 1}
)";
const char* const completions = R"({"prompt": "2 + 2 =", "completion": " 4"}
{"prompt": "1 + 1 =", "completion": " 2"}
)";
const char* const preferences = R"({"prompt": "Say hello.", "chosen": " Hello.", "rejected": " No."}
{"prompt": "Say no.", "chosen": " No.", "rejected": " Hello."}
)";

struct workshop {
  temporary_folder folder;
  std::string model = folder / "model.gguf", text = folder / "general.txt";

  explicit workshop(const std::string& format = "q4_1") {
    zoq::test::tiny_llama({.config = zoq::test::small_config(), .format = format})
        .write_with_tokenizer(model);
    std::string words;
    for (int i = 0; i < 40; ++i) {
      words.append("Some running text, number ").append(std::to_string(i)).append(". ");
    }
    put(text, words);
  }

  /// A folder of rows.
  [[nodiscard]] std::string rows(const char* lines) const {
    std::string data = folder / "rows";
    ::mkdir(data.c_str(), 0700);
    for (const char* name : {"/train.jsonl", "/valid.jsonl", "/test.jsonl"}) {
      put(data + name, lines);
    }
    return data;
  }

  [[nodiscard]] arguments finetune(const arguments& more, const char* lines = choices) const {
    arguments a = {"finetune",     "--model", model,   "--data",  rows(lines),    "--out",
                   folder / "run", "--steps", "3",     "--force", "--batch-size", "2",
                   "--eval-every", "3",       "--json"};
    a.insert(a.end(), more.begin(), more.end());
    return a;
  }
};

std::vector<std::string> names(const char* slot) {
  std::vector<std::string> out;
  const nlohmann::json line = run({"policies", "--json"}).json();
  for (const auto& one : line[slot]) {
    out.push_back(one["name"]);
  }
  return out;
}

// Runs, stops in the middle and goes on, replays: to the same bytes.
void tunes(const workshop& w, const arguments& options, const char* lines = choices) {
  const finished done = run(w.finetune(options, lines));
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(done.json()["loss_after"].is_number());
  CHECK(done.json()["trainable"].get<long>() > 0);
  const std::string delta = zoq::test::contents(w.folder / "run/delta.safetensors");
  const std::string again = w.folder / "again.safetensors";
  const finished replayed =
      run({"replay", "--run", w.folder / "run", "--out", again, "--model", w.model});
  INFO(replayed.err);
  CHECK(replayed.code == 0);
  CHECK(zoq::test::contents(again) == delta);
  const finished measured =
      run({"eval", "--model", w.model, "--data", w.folder / "rows/test.jsonl", "--delta",
           w.folder / "run/delta.safetensors", "--compute", "auto", "--json"});
  INFO(measured.err);
  REQUIRE(measured.code == 0);
  if (std::find(options.begin(), options.end(), "--objective") == options.end()) {
    CHECK(measured.json()["loss"] == done.json()["loss_after"]);
  }
}

}  // namespace

TEST_CASE("policies: the list has every slot, and one slot alone") {
  const auto all = run({"policies", "--json"}).json();
  for (const char* slot :
       {"estimator", "direction", "view", "mask", "optimizer", "schedule", "format", "objective"}) {
    CAPTURE(slot);
    CHECK(all[slot].size() >= 5);
    const finished alone = run({"policies", slot});
    CHECK(alone.code == 0);
    for (const auto& one : all[slot]) {
      CHECK(!one["name"].get<std::string>().empty());
      CHECK(!one["summary"].get<std::string>().empty());
      CHECK(alone.out.find(one["name"].get<std::string>()) != std::string::npos);
    }
  }
  CHECK(run({"policies", "colour"}).code == 2);
}

TEST_CASE("policies: every estimator tunes and replays") {
  const workshop w;
  for (const std::string& name : names("estimator")) {
    CAPTURE(name);
    tunes(w, {"--mask", "random", "--density", "0.01", "--estimator", name, "--epsilon", "0.01"});
  }
}

TEST_CASE("policies: every direction tunes and replays") {
  const workshop w;
  for (const std::string& name : names("direction")) {
    CAPTURE(name);
    tunes(w, {"--view", "lora:rank=2", "--direction", name, "--epsilon", "0.01"});
  }
}

TEST_CASE("policies: every view tunes and replays, dense on float weights") {
  const workshop w, floats("f32");
  for (const std::string& name : names("view")) {
    CAPTURE(name);
    arguments options = {"--view", name, "--epsilon", "0.01"};
    if (name == "sparse" || name == "hybrid") {
      options.insert(options.end(), {"--mask", "random", "--density", "0.01"});
    }
    tunes(name == "dense" ? floats : w, options);
  }
  const finished refused = run(w.finetune({"--view", "dense"}));
  CHECK(refused.code == 1);
  CHECK(refused.err.find("q4_1") != std::string::npos);
}

TEST_CASE("policies: some layers and tensors alone") {
  const workshop w;
  tunes(w, {"--mask", "random", "--density", "0.01", "--layers", "1-", "--exclude", "ffn_gate"});
  tunes(w, {"--view", "lora:rank=2", "--layers", "1"});
  tunes(w, {"--view", "sparse:by_place=true", "--mask", "random", "--density", "0.01"});
}

TEST_CASE("policies: every score makes a mask, on text or on rows") {
  const workshop w;
  for (const std::string& name : names("mask")) {
    for (const char* source : {"", "text", "rows"}) {
      CAPTURE(name);
      CAPTURE(source);
      const std::string from = source;
      std::string how = name;
      if (!from.empty()) {
        how.append(":").append(from == "text" ? w.text : w.rows(choices).append("/train.jsonl"));
      }
      const bool needs_none =
          name == "random" || name == "magnitude" || name == "magnitude-smallest";
      arguments options = {"--mask", how, "--density", "0.01"};
      if (!needs_none) {
        options.insert(options.end(), {"--mask-samples", "2"});
      }
      if (from == "text") {
        options.insert(options.end(), {"--mask-length", "16"});
      }
      if (name == "forward-curvature" || name == "hessian-trace") {
        options.insert(options.end(), {"--score-settings", "probes=2"});
      }
      const finished done = run(w.finetune(options));
      INFO(done.err);
      const bool takes_none =
          needs_none || name == "fisher-task";  // which takes the rows of the run
      const bool takes_text = name != "fisher-task" && !needs_none;
      const bool takes_rows = name != "fisher" && !needs_none;
      const bool right = from.empty() ? takes_none : from == "text" ? takes_text : takes_rows;
      CHECK(done.code == (right ? 0 : 2));
    }
  }
}

TEST_CASE("policies: every optimizer and schedule tunes and replays") {
  const workshop w;
  for (const std::string& name : names("optimizer")) {
    CAPTURE(name);
    tunes(w, {"--mask", "random", "--density", "0.01", "--optimizer", name, "--clip", "5"});
  }
  for (const std::string& name : names("schedule")) {
    CAPTURE(name);
    tunes(w, {"--mask", "random", "--density", "0.01", "--schedule", name, "--clip-norm", "1"});
  }
}

TEST_CASE("policies: every objective tunes on rows that suit it, and is refused on others") {
  const workshop w;
  for (const std::string& name : names("objective")) {
    CAPTURE(name);
    int runs = 0;
    for (const char* lines : {choices, completions, preferences}) {
      const arguments options = {"--mask", "random", "--density", "0.01", "--objective", name};
      const finished done = run(w.finetune(options, lines));
      CHECK((done.code == 0 || done.err.find(name) != std::string::npos));
      if (done.code == 0) {
        ++runs;
        tunes(w, options, lines);
      }
    }
    CHECK(runs >= 1);
  }
}

TEST_CASE("policies: tuned values are a start, with another mask beside theirs") {
  const workshop w;
  tunes(w, {"--mask", "random", "--density", "0.01"});
  const std::string first = w.folder / "first.safetensors";
  put(first, zoq::test::contents(w.folder / "run/delta.safetensors"));
  tunes(w, {"--start", first, "--mask", "magnitude", "--density", "0.01"});
  tunes(w, {"--mask", first});
  const finished made = run({"mask", "--model", w.model, "--score", "fisher", "--text", w.text,
                             "--samples", "2", "--length", "16", "--delta", first, "--density",
                             "0.01", "--out", w.folder / "mask.safetensors"});
  INFO(made.err);
  CHECK(made.code == 0);
}

TEST_CASE(
    "policies: a run whose epsilon was measured goes on, and a finished one is measured again") {
  const workshop w;
  arguments first = w.finetune({"--mask", "random", "--density", "0.01"});
  CHECK(run(first).code == 0);
  const std::string delta = zoq::test::contents(w.folder / "run/delta.safetensors");
  std::replace(first.begin(), first.end(), std::string("--force"), std::string("--resume"));
  const finished again = run(first);
  INFO(again.err);
  CHECK(again.code == 0);
  CHECK(zoq::test::contents(w.folder / "run/delta.safetensors") == delta);
}

TEST_CASE("policies: a mask goes out to other tools and comes in from them") {
  const workshop w;
  const std::string out = w.folder / "mask.safetensors";
  std::vector<std::string> hashes;
  for (const char* form : {"zoq", "gguf", "hf"}) {
    CAPTURE(form);
    const finished made = run({"mask", "--model", w.model, "--score", "random", "--density", "0.01",
                               "--form", form, "--out", out});
    INFO(made.err);
    CHECK(made.code == 0);
    CHECK(run(w.finetune({"--mask", out})).code == 0);
    hashes.push_back(zoq::test::contents(w.folder / "run/delta.safetensors"));
  }
  CHECK(hashes[0] == hashes[1]);
  CHECK(hashes[0] == hashes[2]);
}

TEST_CASE("policies: wrong names and settings are wrong usage, with the choices named") {
  const workshop w;
  const auto refused = [&](const arguments& options, const char* said) {
    const finished done = run(w.finetune(options));
    CHECK(done.code == 2);
    CHECK(done.err.find(said) != std::string::npos);
  };
  refused({"--mask", "random", "--estimator", "guess"}, "leave-one-out");
  refused({"--mask", "random", "--optimizer", "adam:speed=1"}, "beta1");
  refused({"--mask", "random", "--direction", "lozo:rank=many"}, "whole number");
  refused({"--view", "lora", "--mask", "random"}, "takes none");
  refused({"--view", "hybrid"}, "needs one");
  refused({"--mask", "random", "--layers", "9-3"}, "layers");
  refused({"--mask", "fishr:general.txt"}, "fisher-task");
  refused({"--mask", "fisher"}, "text");
  refused({"--mask", "random", "--optimizer", "polyak", "--learning-rate", "0.1"}, "rate");
}

TEST_CASE("policies: settings that a policy refuses are wrong usage before the model is read") {
  const workshop w;
  const auto refused = [&](const arguments& options, const char* said) {
    arguments all = w.finetune(options);
    *std::find(all.begin(), all.end(), w.model) = w.folder / "nowhere.gguf";
    const finished done = run(all);
    INFO(done.err);
    CHECK(done.code == 2);
    CHECK(done.err.find(said) != std::string::npos);
  };
  refused({"--view", "lora", "--estimator", "hizoo:smooth=1"}, "--estimator: hizoo: smooth is 1");
  refused({"--view", "lora", "--estimator", "fzoo", "--probes", "1"}, "--estimator: fzoo: 1 probe");
  refused({"--view", "lora", "--optimizer", "adam:beta1=2"}, "--optimizer: adam: beta1 is 2");
  refused({"--view", "lora", "--direction", "lozo:rank=100"}, "--direction: lozo: rank is 100");
  refused({"--view", "lora", "--schedule", "one-cycle:warm_up=2"},
          "--schedule: one-cycle: warm_up is 2");
}

TEST_CASE("policies: options that do not go together are refused, and both are named") {
  const workshop w;
  const std::string mask = w.folder / "mask.safetensors";
  REQUIRE(run({"mask", "--model", w.model, "--score", "random", "--density", "0.01", "--out", mask})
              .code == 0);
  const auto refused = [&](const arguments& options, const char* one, const char* other) {
    const finished done = run(w.finetune(options));
    INFO(done.err);
    CHECK(done.code == 2);
    CHECK(done.err.find(one) != std::string::npos);
    CHECK(done.err.find(other) != std::string::npos);
  };
  refused({"--mask", "random", "--direction", "lozo"}, "lozo", "the view sparse");
  refused({"--view", "subspace:of=lora", "--direction", "subzero"}, "subzero", "the view subspace");
  refused({"--mask", mask, "--density", "0.1"}, "--density", "mask.safetensors");
  refused({"--mask", mask, "--scope", "global"}, "--scope", "mask.safetensors");
  refused({"--view", "lora", "--density", "0.1"}, "--density", "--mask");
  refused({"--mask", "random", "--mask-samples", "4"}, "--mask-samples", "the score random");
  refused({"--mask", "magnitude", "--score-settings", "probes=4"}, "--score-settings",
          "the score magnitude");
  refused({"--mask", "hessian-trace:" + w.text, "--scope", "global"}, "--scope",
          "the score hessian-trace");
  refused({"--mask", "random:" + w.text}, "the score random", "general.txt");
  refused({"--mask", "random", "--prompt-text", "A review:"}, "--prompt-text", "the view sparse");
  refused({"--view", "prefix", "--layers", "1"}, "--layers", "the view prefix");
  refused({"--view", "prompt", "--exclude", "ffn"}, "--exclude", "the view prompt");
  refused({"--mask", "random", "--estimator", "spsa:epsilon=0.01", "--epsilon", "0.02"},
          "--epsilon", "spsa:epsilon=0.01");
  refused({"--start", mask, "--layers", "1"}, "--layers", "--start");
  const finished done = run({"mask", "--model", w.model, "--score", "magnitude", "--delta", mask,
                             "--out", w.folder / "other.safetensors"});
  CHECK(done.code == 2);
  CHECK(done.err.find("the score magnitude") != std::string::npos);
}

TEST_CASE("policies: an epsilon in an estimator's text is not measured again") {
  const workshop w;
  const finished text = run(w.finetune(
      {"--mask", "random", "--density", "0.01", "--estimator", "spsa:epsilon=0.01,probes=2"}));
  INFO(text.err);
  REQUIRE(text.code == 0);
  const std::string delta = zoq::test::contents(w.folder / "run/delta.safetensors");
  CHECK(text.json()["epsilon"].get<double>() == 0.01);
  const finished option = run(w.finetune({"--mask", "random", "--density", "0.01", "--estimator",
                                          "spsa", "--epsilon", "0.01", "--probes", "2"}));
  REQUIRE(option.code == 0);
  CHECK(zoq::test::contents(w.folder / "run/delta.safetensors") == delta);
}

TEST_CASE(
    "eval, mask: preferences are compared with the untuned model, which loses log 2 against "
    "itself") {
  const workshop w;
  const finished done = run({"eval", "--model", w.model, "--data", w.rows(preferences), "--json"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(done.json()["loss"].get<double>() == doctest::Approx(0.6931471805599453));
  const finished chosen =
      run({"mask", "--model", w.model, "--score", "fisher-task", "--data",
           w.folder / "rows/test.jsonl", "--out", w.folder / "mask.safetensors", "--json"});
  INFO(chosen.err);
  REQUIRE(chosen.code == 0);
  CHECK(chosen.json()["count"].get<long>() > 0);
}
