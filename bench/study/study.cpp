// study: runs the lines of a plan on a real model and keeps what each measured, a JSON line a run.
//
//     study --plan plan.jsonl --data DIR --model model.gguf --out results.jsonl
//
// A run whose line is in the results is passed over, so that the same command goes on after any end; what was
// refused is tried again.
// Results: {"key", "settings_key", "plan": {all settings}, "model", "zoq", "k", "epsilon", "mask_seconds",
// "curve": [[forwards, forward tokens, seconds of steps, loss, accuracy], ...] on the first eval_rows of
// valid.jsonl, "test": [loss, accuracy], "steps", "forwards", "seconds", "forward_seconds", "peak_rss_bytes", ...}.
// Exit codes: 0 all lines are done, 1 failed, 2 wrong usage, 3 time is up, 128 + n stopped by signal n.
// SPDX-License-Identifier: Apache-2.0
#include <fnmatch.h>

#include <iostream>
#include <set>
#include <zoq/io/atomic_file.hpp>
#include <zoq/train/record.hpp>

#include "interrupt.hpp"
#include "plan_line.hpp"
#include "progress.hpp"
#include "runner.hpp"
#include "sources.hpp"

namespace {

using namespace zoq;         // NOLINT: a program
using namespace zoq::study;  // NOLINT

struct study_options {
  std::string plan, out, only;
  source_options from;
  double limit_minutes = 0;
};

/// What an earlier call left: without a line that was cut short, and without what was refused, which is
/// tried again.
std::vector<nlohmann::json> earlier_results(const std::string& path) {
  std::vector<nlohmann::json> out;
  std::string whole;
  for (nlohmann::json& line : read_lines(path)) {
    if (!line.contains("refused")) {
      whole += line.dump() + "\n";
      out.push_back(std::move(line));
    }
  }
  if (std::filesystem::exists(path) && std::filesystem::file_size(path) != whole.size()) {
    write_file_atomically(path, whole);
  }
  return out;
}

struct pending_run {
  const plan_line* line;
  nlohmann::json named;  // key, plan and model of its results
  index_t work = 0;
};

int run(const study_options& o) {
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<plan_line> plan = read_plan(o.plan);
  sources from(o.from);
  std::set<std::string> done;
  std::map<std::string, nlohmann::json> measured;  // by settings
  for (nlohmann::json& line : earlier_results(o.out)) {
    done.insert(line.value("key", ""));
    const std::string settings = line.value("settings_key", "");
    measured[settings] = std::move(line);
  }

  std::vector<pending_run> pending;
  index_t all = 0;
  for (const plan_line& line : plan) {
    if (!o.only.empty() && ::fnmatch(o.only.c_str(), line.title().c_str(), 0) != 0) {
      continue;
    }
    const std::string& model = from.model(line).hash;
    const nlohmann::json settings = json_of(line);
    const std::string key = key_of(settings, model);
    if (done.insert(key).second) {
      index_t work = 1;
      try {
        work = work_of(line, length_of(line));
      } catch (const error&) {  // the run itself says what is wrong
      }
      pending.push_back({&line,
                         {{"key", key},
                          {"settings_key", settings_key_of(settings, model)},
                          {"plan", settings},
                          {"model", model},
                          {"zoq", ZOQ_VERSION}},
                         work});
      all += work;
    }
  }
  std::cerr << "study: " << plan.size() << " lines, " << pending.size() << " to run\n";

  cli::progress bar("study", all);
  index_t before = 0, work = 0;  // of the runs before, and of this one
  runner one(from, [&](index_t rows, const std::string& detail) {
    if (cli::interrupt::signal() != 0 ||
        (o.limit_minutes > 0 && cli::seconds_since(begin) > 60 * o.limit_minutes)) {
      throw cut(text("stopped; run again to go on with ", detail));
    }
    bar.show(before + std::min(rows, work), detail);
  });
  line_file out(o.out);
  for (pending_run& next : pending) {
    nlohmann::json& line = next.named;
    work = next.work;
    const auto found = measured.find(line["settings_key"]);
    if (found != measured.end()) {
      nlohmann::json same = found->second;
      same.update(line);
      line = std::move(same);
    } else {
      line.update(one(*next.line));
      measured[line["settings_key"]] = line;
    }
    out.append(line);
    out.flush();
    before += work;
    bar.erase();
    std::cout << next.line->title() << " seed " << next.line->seed << ": ";
    if (line.contains("refused")) {
      std::cout << "refused: " << line["refused"].get<std::string>();
    } else if (line.contains("diverged")) {
      std::cout << "diverged after " << line["diverged"] << " steps";
    } else if (line.contains("share_kept")) {
      std::cout << "keeps " << line["share_kept"] << " of the scores, their own mask "
                << line["share_own"] << ", Jaccard " << line["jaccard"];
    } else if (line.contains("rms_error")) {
      std::cout << "slopes err by " << line["rms_error"] << ", their size is " << line["rms_slope"];
    } else {
      const nlohmann::json curve = line.value("curve", nlohmann::json::array());
      std::cout << "k " << line["k"] << ", " << line["forwards"] << " forwards in "
                << line["seconds"] << " s, valid loss "
                << (curve.empty() ? nlohmann::json() : curve.back()[3]) << ", test "
                << line.value("test", nlohmann::json());
    }
    std::cout << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs the lines of a plan, and keeps what each measured", "study"};
  study_options o;
  app.add_option("--plan", o.plan, "Runs, a JSON line each: study/plan_line.hpp")->required();
  app.add_option("--data", o.from.data, "A folder with general.txt and a folder for each task")
      ->required();
  app.add_option("--model", o.from.model, "The model of lines that name none")->required();
  app.add_option("--out", o.out, "The results; made when missing, else added to")->required();
  app.add_option("--only", o.only, "Runs whose STUDY/TASK/NAME matches this pattern, as a shell's");
  app.add_option("--threads", o.from.threads, "Threads; 0: one for each core")
      ->check(CLI::Range(0, 4096));
  app.add_option("--kernels", o.from.kernels, "SIMD variant, or auto")->capture_default_str();
  app.add_option("--limit-minutes", o.limit_minutes, "Ends when they are over; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  o.from.kept = o.out + ".kept";
  const cli::interrupt asked;
  try {
    return run(o);
  } catch (const cut& e) {
    std::cerr << "\nstudy: " << e.what() << "\n";
    return cli::interrupt::signal() != 0 ? 128 + cli::interrupt::signal() : 3;
  } catch (const cli::stopped& e) {
    std::cerr << "\nstudy: " << e.what() << "\n";
    return 128 + e.signal;
  } catch (const std::exception& e) {
    std::cerr << "\nstudy: " << e.what() << "\n";
    return 1;
  }
}
