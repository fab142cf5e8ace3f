// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cli/program.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/core/config.hpp"
#include "zoq/exec/cpu.hpp"

namespace {

using zoq::index_t;
using zoq::test::finished;
using zoq::test::put;
using zoq::test::run;
using arguments = std::vector<std::string>;

// Some 1.6 million linear weights: large enough that its format is seen beside the program itself.
zoq::llama_config middle_config() {
  zoq::llama_config c = zoq::test::small_config();
  c.layers = 4;
  c.hidden = 192;
  c.heads = 6;
  c.kv_heads = 3;
  c.head_size = 32;
  c.feed_forward = 512;
  return c;
}

arguments with(arguments a, const arguments& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

TEST_CASE("R3: plan refuses f32 on a budget that 4 bits fit, naming need and budget") {
  const zoq::test::temporary_folder folder;
  const std::string model = folder / "model.gguf";
  zoq::test::tiny_llama({.config = middle_config(), .format = "q4_1"}).write_with_tokenizer(model);
  const arguments ask = {"plan",     "--model", model,    "--batch-size", "4",
                         "--length", "24",      "--rows", "100",          "--json"};
  const finished small = run(ask);
  INFO(small.err);
  REQUIRE(small.code == 0);
  const auto line = small.json();
  CHECK(std::count(small.out.begin(), small.out.end(), '\n') == 1);
  CHECK(line["linear_weights"] == middle_config().linear_weights());
  CHECK(line["budget"].is_null());
  CHECK(line["fits"].is_null());
  CHECK(line["parts"]["linear_weights"] == middle_config().linear_weights() / 32 * 20);
  index_t sum = 0;
  for (const auto& [part, bytes] : line["parts"].items()) {
    sum += bytes.get<index_t>();
  }
  CHECK(line["total"] == sum);

  const auto large = run(with(ask, {"--format", "f32"})).json();
  CHECK(large["parts"]["linear_weights"] == 4 * middle_config().linear_weights());
  CHECK(large["total"].get<index_t>() > sum);
  // The program's own size differs a little each time: a budget well between the two.
  const std::string budget = std::to_string((sum + large["total"].get<index_t>()) / 2);
  const finished fits = run(with(ask, {"--budget", budget}));
  CHECK(fits.code == 0);
  CHECK(fits.json()["fits"] == true);
  const finished refused = run(with(ask, {"--format", "f32", "--budget", budget}));
  CHECK(refused.code == 1);
  CHECK(refused.json()["fits"] == false);
  CHECK(refused.json()["budget"] == std::stoll(budget));
  CHECK(std::count(refused.err.begin(), refused.err.end(), '\n') == 1);
  CHECK(refused.err.starts_with("zoq plan: needs "));
  CHECK(refused.err.find(" MB, the budget is ") != std::string::npos);
  CHECK(refused.err.find("linear weights ") != std::string::npos);
  // For people: a table, or nothing but the message.
  arguments people = ask;
  people.pop_back();
  CHECK(run(people).out.find("\ntotal ") != std::string::npos);
  CHECK(run(with(people, {"--budget", "1KiB"})).out.empty());
}

#if !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)  // they have memory of their own
TEST_CASE("R17: the peak of a run is what was planned, within 5 % and two megabytes") {
  const zoq::test::temporary_folder folder;
  const std::string model = folder / "model.gguf", mask = folder / "mask.safetensors";
  zoq::test::tiny_llama({.config = middle_config(), .format = "f32"}).write_with_tokenizer(model);
  std::string lines;
  for (int i = 0; i < 64; ++i) {
    lines += R"({"prompt": ")" + std::string(60, static_cast<char>('a' + i % 20)) +
             R"(", "choices": ["n", "y"], "answer": )" + std::to_string(i % 2) + "}\n";
  }
  put(folder / "train.jsonl", lines);
  REQUIRE(run({"mask", "--model", model, "--score", "random", "--density", "0.01", "--out", mask})
              .code == 0);
  for (const char* probes : {"1", "3"}) {
    CAPTURE(probes);
    const arguments both = {"--model",   model, "--batch-size", "16",   "--probes",    probes,
                            "--threads", "2",   "--epsilon",    "1e-2", "--eval-rows", "0"};
    const finished tuned =
        run(with({"finetune", "--data", folder.path(), "--mask", mask, "--steps", "2",
                  "--eval-every", "0", "--force", "--out", folder / "run", "--json"},
                 both));
    INFO(tuned.err);
    REQUIRE(tuned.code == 0);
    const auto planned =
        run(with({"plan", "--length", "60", "--rows", "64", "--density", "0.01", "--json"}, both))
            .json();
    const double peak = tuned.json()["peak_rss_bytes"];
    const double total = planned["total"];
    CHECK(planned["trainable"] == tuned.json()["trainable"]);
    // The two megabytes: systems differ in how much of the program's own file is in memory.
    CHECK(total <= 1.05 * peak + 2e6);
    CHECK(total >= 0.95 * peak - 2e6);
  }
}
#endif

TEST_CASE("plan: --device cuda is of the device's memory, whatever this zoq was built with") {
  const arguments ask = {"plan", "--shape", "7b", "--batch-size", "1", "--length", "64"};
  const arguments cuda = with(ask, {"--device", "cuda"});
  const finished done = run(with(cuda, {"--budget", "5GiB", "--json"}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto line = done.json();
  CHECK(run(with(ask, {"--json"})).json()["device"] == "cpu");
  CHECK(line["device"] == "cuda");
  CHECK(line["fits"] == true);
  CHECK(line["parts"]["linear_weights"] == 6476005376 / 32 * 20);
  CHECK(line["parts"]["rounded_inputs"].get<index_t>() > 0);  // auto is bf16
  CHECK(line["parts"]["library_workspace"] == index_t{32} << 20);
  CHECK_FALSE(line["parts"].contains("program"));
  index_t sum = 0;
  for (const auto& [part, bytes] : line["parts"].items()) {
    sum += bytes.get<index_t>();
  }
  CHECK(line["total"] == sum);
  // To the byte: nothing of it is measured.
  CHECK(run(with(cuda, {"--budget", std::to_string(sum)})).code == 0);
  const finished refused = run(with(cuda, {"--budget", std::to_string(sum - 1)}));
  CHECK(refused.code == 1);
  CHECK(refused.err.starts_with("zoq plan: needs "));
  const auto named = [&](const char* compute) {
    return run(with(cuda, {"--compute", compute, "--json"})).json()["parts"];
  };
  CHECK(named("bf16") == line["parts"]);
  CHECK(named("f32")["rounded_inputs"] == 0);
  CHECK(run(cuda).out.find(", on cuda\n") != std::string::npos);
  CHECK(run(cuda).out.find(" of the device") != std::string::npos);
  CHECK(run(ask).out.find(", on cpu\n") != std::string::npos);
  for (const arguments& more :
       std::vector<arguments>{{"--compute", "i8"}, {"--kernels", "portable"}, {"--threads", "2"}}) {
    CAPTURE(more[0]);
    const finished wrong = run(with(cuda, more));
    CHECK(wrong.code == 2);
    CHECK(wrong.err.find("for --device cpu") != std::string::npos);
  }
  CHECK(run(with(ask, {"--device", "tpu"})).code == 2);
}

TEST_CASE("plan: automatic products depend on whether the estimator asks for pairs") {
  const auto workspace = [](const std::string& estimator, std::string_view compute) {
    const finished done = run({"plan", "--shape", "135m", "--estimator", estimator, "--compute",
                               std::string(compute), "--epsilon", "0.003", "--json"});
    INFO(done.err);
    REQUIRE(done.code == 0);
    return done.json()["parts"]["workspace"].get<index_t>();
  };
  const auto best = zoq::name_of(
      zoq::compute_for_tuning(zoq::best_instruction_set(), true));  // i8 where that pays
  CHECK(workspace("spsa:probes=4", "f32") != workspace("spsa:probes=4", "i8"));
  CHECK(workspace("spsa:probes=4", "auto") == workspace("spsa:probes=4", best));
  for (const char* single : {"leave-one-out:probes=8", "fzoo", "spsa-one-sided", "hizoo"}) {
    CAPTURE(single);
    CHECK(workspace(single, "auto") == workspace(single, "f32"));
  }
}

TEST_CASE("R17: plan knows the 7B shape without its file") {
  const arguments ask = {"plan", "--shape", "7b", "--batch-size", "1", "--length", "64"};
  const finished done = run(with(ask, {"--budget", "5GiB", "--json"}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(done.json()["linear_weights"] == 6476005376);
  CHECK(done.json()["total"].get<index_t>() < index_t{5} << 30);
  CHECK(done.json()["budget"] == index_t{5} << 30);
  CHECK(run(with(ask, {"--budget", "3.5GiB"})).code == 1);
  CHECK(run(with(ask, {"--budget", "5GiB", "--format", "bf16"})).code == 1);
}

TEST_CASE("plan: budgets as people write them, and bad input") {
  const arguments ask = {"plan", "--shape", "135m"};
  const auto budget = [&](const std::string& given) {
    return run(with(ask, {"--json", "--budget", given})).json()["budget"];
  };
  CHECK(budget("1073741824") == index_t{1} << 30);
  CHECK(budget("1GiB") == index_t{1} << 30);
  CHECK(budget("1024MiB") == index_t{1} << 30);
  CHECK(budget("1.5GB") == 1500000000);
  CHECK(budget("600 mb") == 600000000);
  CHECK(budget("2000kB") == 2000000);
  for (const char* bad : {"", "0", "-1GB", "MiB", "12 apples", "1G", "1GiBs", "nan", "1e99"}) {
    CAPTURE(bad);
    const finished done = run({"plan", "--shape", "135m", std::string("--budget=") + bad});
    CHECK(done.code == (*bad == '\0' ? done.code : 2));
    CHECK(done.code != 1);
  }
  struct bad {
    arguments command;
    int code;
    std::string said;
  };
  for (const bad& b : std::vector<bad>{{{"plan"}, 2, "--model"},
                                       {{"plan", "--shape", "9b"}, 2, "9b"},
                                       {{"plan", "--model", "missing.gguf"}, 1, "missing.gguf"},
                                       {{"plan", "--shape", "7b", "--model", "x"}, 2, "--model"},
                                       {with(ask, {"--format", "q9"}), 2, "q9"},
                                       {with(ask, {"--density", "0"}), 2, "--density"},
                                       {with(ask, {"--epsilon", "1e-2x"}), 2, "--epsilon"},
                                       {with(ask, {"--length", "9000"}), 1, "context of 8192"},
                                       {with(ask, {"--view", "lora"}), 2, "lora"}}) {
    CAPTURE(b.said);
    const finished done = run(b.command);
    CAPTURE(done.err);
    CHECK(done.code == b.code);
    CHECK(done.err.find(b.said) != std::string::npos);
    CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
    CHECK(done.out.empty());
  }
}

}  // namespace
