// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "program.hpp"
#include "workshop.hpp"

using namespace zoq::test;

namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) {
    ++n;
  }
  return n;
}

/// The first element that is closed by another's end, or not at all; empty when all is well.
std::string unclosed(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t at = 0; (at = page.find('<', at)) != std::string::npos;) {
    const std::size_t end = page.find('>', at);
    if (end == std::string::npos) {
      return page.substr(at, 40);
    }
    const std::string tag = page.substr(at + 1, end - at - 1);
    at = end + 1;
    const std::string name = tag.substr(0, tag.find_first_of(" \n"));
    if (tag.front() == '!' || tag.back() == '/') {
      continue;
    }
    if (tag.front() != '/') {
      open.push_back(name);
    } else if (open.empty() || "/" + open.back() != name) {
      return tag;
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : open.back();
}

/// How many points the first line of the picture with this title has.
std::size_t points_of(const std::string& page, const std::string& title) {
  const std::size_t picture = page.find("<figcaption>" + title);
  const std::size_t line = page.find("points=\"", picture);
  REQUIRE(line != std::string::npos);
  const std::size_t end = page.find('"', line + 8);
  return count(page.substr(line + 8, end - line - 8), ",");
}

}  // namespace

TEST_CASE("report: a page with the figures of two runs, which stands alone") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("one")).code == 0);
  REQUIRE(run(w.finetune("<b>&two", {"--steps", "7", "--optimizer", "sign"})).code == 0);
  const finished done = run({"report", w.folder / "one", w.folder / "<b>&two", "--json"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(done.json()["report"] == w.folder / "one" + "/report.html");
  CHECK(done.json()["runs"] == 2);

  const std::string page = contents(w.folder / "one" + "/report.html");
  CHECK(unclosed(page) == "");
  CHECK(page.find("<b>&two") == std::string::npos);
  CHECK(page.find("&lt;b&gt;&amp;two") != std::string::npos);
  for (const char* other : {"<script", "http:", "https:", "src=", "href="}) {
    CAPTURE(other);
    CHECK(page.find(other) == std::string::npos);
  }
  CHECK(points_of(page, "Loss of the batches") == 12);
  CHECK(points_of(page, "Loss on valid rows") == 2);  // every 6 steps
  CHECK(page.find("<tr class=\"differs\"><th>optimizer</th>") != std::string::npos);
  CHECK(page.find("<tr><th>batch_size</th><td>4</td><td>4</td>") != std::string::npos);
  CHECK(page.find("12 of 12") != std::string::npos);
  CHECK(page.find("7 of 7") != std::string::npos);
  CHECK(page.find("<th>accuracy_after</th>") != std::string::npos);
  CHECK(page.find("nan") == std::string::npos);
  // Two maps of two runs: a cell for every matrix that is tuned.
  const finished shape = run({"inspect", "--model", w.model, "--json"});
  const auto matrices = 7 * shape.json()["model"]["layers"].get<std::size_t>();
  CHECK(count(page, "<rect ") == 4 * matrices);
}

TEST_CASE("report: of views without a mask, and of runs that have not got far") {
  const tuning_workshop w;
  REQUIRE(run({"finetune", "--model", w.model, "--data", w.rows, "--view", "lora:rank=2", "--steps",
               "12", "--batch-size", "4", "--eval-every", "0", "--epsilon", "1e-2", "--out",
               w.folder / "lora"})
              .code == 0);
  std::filesystem::remove(w.folder / "lora/result.json");
  REQUIRE(run({"report", w.folder / "lora", "--out", w.folder / "page.html"}).code == 0);
  std::string page = contents(w.folder / "page.html");
  CHECK(unclosed(page) == "");
  CHECK(page.find("How far its values moved") != std::string::npos);
  CHECK(page.find("Tuned share") == std::string::npos);
  CHECK(page.find("No run has such figures.") != std::string::npos);  // on valid rows
  CHECK(page.find("accuracy_after") == std::string::npos);

  for (const char* file : {"delta.safetensors", "metrics.jsonl", "checkpoint.safetensors"}) {
    std::filesystem::remove(w.folder / "lora/" + file);
  }
  REQUIRE(run({"report", w.folder / "lora", "--out", w.folder / "page.html"}).code == 0);
  page = contents(w.folder / "page.html");
  CHECK(unclosed(page) == "");
  CHECK(page.find("0 of 12") != std::string::npos);
}

TEST_CASE("report: losses that are the same but for rounding, and noise within a few units") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run")).code == 0);
  for (const char* loss : {"0.7", "0.1", "0", "1e308", "-3"}) {
    CAPTURE(loss);
    std::string lines;
    for (int step = 1; step <= 100; ++step) {
      lines += "{\"step\":" + std::to_string(step) + ",\"loss\":" + loss +
               ",\"signal_to_noise\":" + std::to_string(21 + step / 5) + "}\n";
    }
    put(w.folder / "run/metrics.jsonl", lines);
    REQUIRE(run({"report", w.folder / "run"}).code == 0);
    const std::string page = contents(w.folder / "run/report.html");
    CHECK(unclosed(page) == "");
    CHECK(page.size() < 60000);
  }
}

TEST_CASE("report: what is no run, or broken, is named") {
  const tuning_workshop w;
  finished done = run({"report", w.folder / "nothing"});
  CHECK(done.code == 1);
  CHECK(done.err.find("nothing: holds no run") != std::string::npos);
  REQUIRE(run(w.finetune("run")).code == 0);
  const std::string metrics = w.folder / "run/metrics.jsonl";
  const std::string whole = contents(metrics);
  put(metrics, whole + "{\"step\":13,\"loss\":\"low\"}\n");
  done = run({"report", w.folder / "run"});
  CHECK(done.code == 1);
  CHECK(done.err.find("metrics.jsonl:15: \"loss\" is \"low\", wanted a number") !=
        std::string::npos);
  CHECK(!std::filesystem::exists(w.folder / "run/report.html"));
  put(metrics, whole);
  done = run({"report", w.folder / "run", "--out", w.folder / "no/such/folder.html"});
  CHECK(done.code == 1);
  CHECK(done.err.find("folder.html") != std::string::npos);
  CHECK(run({"report"}).code == 2);
  done = run({"report", w.folder / "run", w.folder / "run", "--bogus"});
  CHECK(done.code == 2);
  CHECK(done.err.find("--bogus") != std::string::npos);
}

TEST_CASE("report: figures near the ends of a double's range have places") {
  const tuning_workshop w;
  REQUIRE(run(w.finetune("run", {"--steps", "2", "--eval-every", "0"})).code == 0);
  put(w.folder / "run/metrics.jsonl",
      "{\"step\": 1, \"loss\": 1e308, \"seconds\": 1}\n{\"step\": 2, \"loss\": -1e308, "
      "\"seconds\": 1}\n");
  REQUIRE(run({"report", w.folder / "run", "--out", w.folder / "page.html"}).code == 0);
  const std::string page = contents(w.folder / "page.html");
  CHECK(page.find("nan") == std::string::npos);
}
