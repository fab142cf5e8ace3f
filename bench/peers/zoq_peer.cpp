// zoq in the peer comparison of run.py: one command a line on standard input, as JSON, and one line
// of JSON as its answer.
//
//     zoq_peer --model FILE --rows FILE [--threads N] [--compute NAME] [--kernels NAME]
//     zoq_peer --list                   the compute policies of this build, as a JSON array
//
//     {"do": "prompt", "set": "64"}     log p of every row's target, one forward over packed rows
//     {"do": "losses", "batch": 0}      the loss of every row of a batch, at the unchanged base
//     {"do": "step", "batch": 0}        one two-point SPSA step of a trainer on a batch
//
// Times are in seconds, memory in bytes. Tokens come from the rows file, so that all peers have the
// same. SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include <zoq/io.hpp>
#include <zoq/zoq.hpp>

#include "program.hpp"

namespace {

using nlohmann::json;
/// Forgets the peak so far. getrusage would still know the peak of the program that started this.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

/// Peak resident memory since `forget_peak`, the pages of mapped files included.
std::int64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return 1024 * std::atoll(line.c_str() + 6);
    }
  }
  return 0;
}

json read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  zoq::require(in.good(), path, ": cannot be read");
  return zoq::parse_json(std::string(std::istreambuf_iterator<char>(in), {}), path);
}

class peer {
 public:
  peer(const zoq::cpu_options& how, const std::string& model, const std::string& rows)
      : exec_(how), model_(zoq::llama::open(model)), rows_(read_file(rows)), pass_(exec_, model_) {}

  json answer(const json& command) {
    const std::string& what = zoq::json_string(command, "do", "command");
    if (what == "prompt") {
      return prompt(rows_.at("prompt").at(zoq::json_string(command, "set", "command")));
    }
    zoq::require(what == "losses" || what == "step", "unknown command \"", what, "\"");
    const auto batch = batch_of(rows_.at("step").at(command.at("batch").get<std::size_t>()));
    return what == "step" ? step(batch) : losses(batch);
  }

 private:
  static std::vector<zoq::example> batch_of(const json& rows) {
    std::vector<zoq::example> out;
    for (const json& row : rows) {
      out.push_back({row.at("prompt").get<std::vector<zoq::token_t>>(),
                     row.at("choices").get<std::vector<std::vector<zoq::token_t>>>(),
                     row.at("answer").get<zoq::index_t>()});
    }
    return out;
  }

  json prompt(const json& rows) {
    zoq::packing packed;
    for (const json& row : rows) {
      const auto tokens = row.at("tokens").get<std::vector<zoq::token_t>>();
      packed.read(packed.add(tokens), static_cast<zoq::index_t>(tokens.size()) - 1,
                  row.at("target").get<zoq::token_t>());
    }
    std::vector<double> scores(packed.reads.size());
    forget_peak();
    const double seconds = zoq::bench::seconds_of([&] { pass_.score(packed, {}, scores); });
    return {{"seconds", seconds}, {"scores", scores}, {"peak_bytes", peak_bytes()}};
  }

  json losses(const std::vector<zoq::example>& batch) {
    json out = {{"losses", json::array()}};
    for (const zoq::example& row : batch) {
      zoq::packing packed;
      zoq::option_likelihood::pack(row, packed);
      std::vector<double> scores(packed.reads.size());
      pass_.score(packed, {}, scores);
      out["losses"].push_back(zoq::option_likelihood{}.loss(row, scores));
    }
    return out;
  }

  json step(const std::vector<zoq::example>& batch) {
    if (!tuner_.has_value()) {
      // Which places does not matter to the cost, only how many of each matrix.
      view_.emplace(
          zoq::sparse_view(exec_, model_.tensors(),
                           zoq::top_k(zoq::random_score(model_.tensors(), 1), {.density = 0.001})));
      tuner_.emplace(exec_, model_, *view_, zoq::option_likelihood{}, zoq::spsa{.probes = 1},
                     zoq::sgd{.rate = 1e-6F});
    }
    tuner_->start(batch, {.steps = 1, .batch_size = static_cast<zoq::index_t>(batch.size())});
    forget_peak();
    zoq::step_result result;
    const double seconds = zoq::bench::seconds_of([&] { result = tuner_->advance(); });
    return {{"seconds", seconds}, {"loss", result.loss}, {"peak_bytes", peak_bytes()}};
  }

  using view = zoq::laid_out_view<zoq::cpu, zoq::sparse_layout<zoq::cpu>>;
  zoq::cpu exec_;
  zoq::llama model_;
  json rows_;
  zoq::llama_forward<zoq::cpu> pass_;
  std::optional<view> view_;
  std::optional<
      zoq::trainer<zoq::cpu, zoq::llama, view, zoq::option_likelihood, zoq::spsa, zoq::sgd>>
      tuner_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--list") {
      json names = json::array();
      for (const zoq::compute c : zoq::all_computes) {
        names.push_back(zoq::name_of(c));
      }
      std::cout << names.dump() << std::endl;
      return 0;
    }
    const zoq::bench::arguments given("zoq_peer", argc, argv,
                                      {{"--model", ""},
                                       {"--rows", ""},
                                       {"--threads", "0"},
                                       {"--compute", "f32"},
                                       {"--kernels", ""}});
    zoq::cpu_options how{.threads = static_cast<int>(given.number("--threads")),
                         .products = zoq::compute_named(given.text("--compute"))};
    if (!given.text("--kernels").empty()) {
      how.kernels = zoq::instruction_set_named(given.text("--kernels"));
    }
    peer zoq_here(how, given.text("--model"), given.text("--rows"));
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << zoq_here.answer(zoq::parse_json(line, "command")).dump() << std::endl;
    }
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "zoq_peer: " << e.what() << "\n";
    return 1;
  }
}
