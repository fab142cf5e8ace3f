// SPDX-License-Identifier: Apache-2.0
// What a command line, a config file or a record should not say: one clear line that names the option or the
// file, whatever bytes it holds.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/program.hpp"
#include "cli/refused.hpp"
#include "cli/workshop.hpp"
#include "model/tiny_llama.hpp"

namespace {

using zoq::test::check_refused;
using zoq::test::contents;
using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using zoq::test::tuning_workshop;
using zoq::test::with;
using arguments = std::vector<std::string>;

}  // namespace

TEST_CASE("hostile: numbers that are none, or that no integer holds, are wrong usage") {
  const tuning_workshop w;
  struct bad {
    const char *option, *value, *wanted;
  };
  for (const bad& b : std::vector<bad>{
           {"--steps", "0", "a whole number from 1 to 9223372036854775807"},
           {"--steps", "99999999999999999999999", "a whole number from 1 to 9223372036854775807"},
           {"--steps", "010", "a whole number"},
           {"--steps", "1.5", "a whole number"},
           {"--seed", "18446744073709551616", "a whole number from 0 to 18446744073709551615"},
           {"--eval-rows", "18446744073709551615", "a whole number"},
           {"--batch-size", "9223372036854775807", "a whole number from 1 to 1048576"},
           {"--learning-rate", "", "a finite number of at least 0"},
           {"--learning-rate", "nan", "a finite number of at least 0"},
           {"--clip", "nan", "a finite number of at least 0"},
           {"--clip-norm", "nan", "a finite number of at least 0"},
           {"--divergence", "inf", "a finite number of at least 0"},
           {"--density", "", "a number from 0 to 1"},
           {"--density", "nan", "a number from 0 to 1"},
           {"--epsilon", "1e308", "a positive number up to 1e30 or auto"}}) {
    check_refused(w.finetune("out", {b.option, b.value}), 2,
                  zoq::text("zoq finetune: ", b.option, ": wanted ", b.wanted));
    CHECK_FALSE(std::filesystem::exists(w.folder / "out"));
  }
  const arguments generate = {"generate", "--model", w.model, "--prompt", "ab"};
  for (const auto& [option, value] : {std::pair{"--temperature", "nan"},
                                      {"--top-p", "nan"},
                                      {"--tokens", "18446744073709551615"},
                                      {"--seed", "-1"}}) {
    check_refused(with(generate, {option, value}), 2,
                  zoq::text("zoq generate: ", option, ": wanted a"));
  }
  // As many tokens as the context has room for.
  const finished many = run(with(generate, {"--tokens", "9223372036854775807", "--json"}));
  CHECK(many.code == 0);
  CHECK(many.json()["tokens"].size() > 0);
}

TEST_CASE("hostile: sizes of a view whose products no integer holds") {
  const tuning_workshop w;
  for (const std::string setting : {"lora:rank", "lora-b:rank", "prompt:rows", "prefix:rows",
                                    "residual-prompt:width", "subspace:rank"}) {
    const std::string view = setting + "=9223372036854775807";
    check_refused({"finetune", "--model", w.model, "--data", w.rows, "--view", view, "--out",
                   w.folder / "out"},
                  1, "zoq finetune: --view " + view + ": ");
  }
  check_refused({"finetune", "--model", w.model, "--data", w.rows, "--view", "prompt:rows=100000",
                 "--out", w.folder / "out"},
                1, "longer than the model's context");
}

TEST_CASE("hostile: control characters, bytes that are no UTF-8 and long texts in errors") {
  const tuning_workshop w;
  const std::string bad = "\x1b[2J\nzoq eval: fine\xff";
  check_refused({"eval", "--model", w.model, "--data", w.rows, "--z" + bad}, 2,
                "--z?[2J?zoq eval: fine?");
  check_refused({"policies", bad}, 2, "\"?[2J?zoq eval: fine?\"");
  check_refused({"eval", "--model", w.model, "--data", w.rows, "--config", w.folder / bad}, 2,
                "?[2J?zoq eval: fine?: No such file");
  check_refused(w.finetune("out", {"--estimator", std::string(100000, 'x')}), 2, "xxx...");
  check_refused(w.finetune("out", {"--exclude", bad}), 2, "--exclude: invalid UTF-8 at byte 19");
  check_refused({"finetune", "--model", w.model, "--data", w.rows, "--view", "prompt:rows=2",
                 "--prompt-text", "a\xff", "--out", w.folder / "out"},
                2, "--prompt-text: invalid UTF-8 at byte 1");
}

TEST_CASE("hostile: links that lead to themselves are named") {
  const tuning_workshop w;
  const std::string loop = w.folder / "loop";
  std::filesystem::create_symlink(loop, loop);
  const std::string cause = ": cannot be looked at: Too many levels of symbolic links";
  check_refused({"eval", "--model", w.model, "--data", loop}, 1, loop + cause);
  check_refused({"replay", "--run", loop, "--out", w.folder / "x"}, 1,
                loop + "/trajectory.jsonl" + cause);
  check_refused({"report", loop}, 1, loop + "/trajectory.jsonl" + cause);
  check_refused({"quantize", "--model", w.model, "--format", "q8_0", "--out", loop}, 1,
                loop + cause);
  check_refused(
      {"finetune", "--model", w.model, "--data", w.rows, "--mask", loop, "--out", w.folder / "out"},
      2, "--mask: " + loop + cause);
}

TEST_CASE("hostile: config files") {
  const tuning_workshop w;
  const std::string file = w.folder / "c.toml";
  const auto refused = [&](const std::string& text, const std::string& said) {
    put(file, text);
    check_refused({"inspect", "--model", w.model, "--config", file}, 2, "zoq inspect: " + said);
  };
  std::string deep = "[a";
  for (int i = 0; i < 10000; ++i) {
    deep += ".d";
  }
  refused(deep + "]\n", "--config: line 1: sections are not known");
  refused(std::string((1 << 20) + 1, '#'), "--config: more than 1048576 bytes");
  for (const char* line : {"json", "=", "\"=", "=12"}) {
    refused(std::string("# a comment\n") + line + "\n",
            zoq::text("--config: line 2: wanted option = value, found \"", line, "\""));
  }
  refused("text = \"abc\n", "--config: line 1: the quotes of \"abc do not close");
  refused("json = 5\n", "--config: json is \"5\", wanted true or false");
  refused("json = true\njson = true\n", "--config: json is given twice");
  refused("x = \x1b[2J\n", "--config: line 1: a control character");
  refused("zz = 1\n", "--config: an unknown option, zz");
  for (const std::string& other : {w.folder.path(), std::string("/dev/zero")}) {
    check_refused({"inspect", "--model", w.model, "--config", other}, 2,
                  other + ": is not a regular file");
  }
  put(file, "# all of it\r\n\r\ntext = \"abc\"  # a comment\r\njson = true\r\n");
  CHECK(run({"inspect", "--model", w.model, "--config", file}).json()["tokens"].size() == 3);
}

TEST_CASE("hostile: a record's settings and losses are refused by the file") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run", {"--steps", "3"})).code == 0);
  const std::string path = w.folder / "run/trajectory.jsonl", record = contents(path);
  const std::size_t line = record.find('\n');
  const arguments replay = {"replay", "--run", w.folder / "run", "--out", w.folder / "again"};
  const auto refused = [&](const char* key, const nlohmann::json& value, const std::string& said) {
    nlohmann::json settings = nlohmann::json::parse(record.substr(0, line));
    settings[key] = value;
    put(path, settings.dump() + record.substr(line));
    check_refused(replay, 1, path + said);
    CHECK_FALSE(std::filesystem::exists(w.folder / "again"));
  };
  for (const nlohmann::json& none : {nlohmann::json(-1), nlohmann::json(1.5), nlohmann::json(1e300),
                                     nlohmann::json("4"), nlohmann::json(nullptr)}) {
    refused("steps", none,
            ":1: setting \"steps\" is " + none.dump() + ", wanted a whole number of at least 0");
    refused("seed", none, ":1: setting \"seed\" is " + none.dump() + ", wanted a whole number");
  }
  refused("clip", true, ":1: setting \"clip\" is true, wanted a number");
  refused("clip", -1, ": clip: -1, wanted");
  refused("steps", 2, ": schedule: step 2 of 2");
  put(path, record.substr(0, line) + "\n{\"step\": 0, \"losses\": []}\n");
  check_refused(replay, 1, path + ": step 0: the record has 0 losses");
}

TEST_CASE("hostile: values of another shape and a model without a tokenizer, by their files") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run", {"--steps", "1", "--eval-every", "0"})).code == 0);
  const std::string delta = w.folder / "run/delta.safetensors";
  std::string bytes = contents(delta);
  for (std::size_t at = 0; (at = bytes.find("blk.2.ffn_up", at)) != std::string::npos; ++at) {
    bytes[at + 4] = '7';  // a layer that there is not
  }
  put(w.folder / "other", bytes);
  for (const arguments& command : {arguments{"eval", "--data", w.rows},
                                   {"generate", "--prompt", "a"},
                                   {"inspect", "--text", "a"}}) {
    check_refused(with(command, {"--model", w.model, "--delta", w.folder / "other"}), 1,
                  zoq::text("zoq ", command[0], ": ", w.folder / "other", ": "));
  }
  check_refused({"inspect", "--model", w.model, "--text", std::string(10000, 'a')}, 1,
                "--text has 10000 tokens, the model's context is ");
  check_refused({"eval", "--model", w.model, "--data", ""}, 2, "--data: wanted a name");
  zoq::test::tiny_llama({.config = zoq::test::small_config()}).write(w.model);
  check_refused({"inspect", "--model", w.model}, 1,
                w.model + ": has no tokenizer (metadata tokenizer.ggml.model)");
}

TEST_CASE("inspect: the family of a model that is no Llama") {
  const tuning_workshop w;
  zoq::test::tiny_options how{.config = zoq::test::tiny_gpt2_config()};
  how.config.vocabulary = zoq::test::small_config().vocabulary;
  zoq::test::tiny_llama(how).write_with_tokenizer(w.model);
  CHECK(run({"inspect", "--model", w.model}).out.starts_with("gpt2: "));
  CHECK(run({"inspect", "--model", w.model, "--json"}).json()["model"]["architecture"] == "gpt2");
}
