// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <optional>
#include <zoq/io/mapped_file.hpp>
#include <zoq/model/export_folder.hpp>
#include <zoq/model/export_gguf.hpp>
#include <zoq/model/export_peft.hpp>
#include <zoq/model/tuned_model.hpp>

#include "command.hpp"
#include "interrupt.hpp"
#include "option_checks.hpp"
#include "progress.hpp"

namespace zoq::cli {

namespace {

struct export_options {
  std::string model, delta, to, out, format = "f32", shard_size = "5GB";
  bool force = false, json = false;

  [[nodiscard]] bool is_folder() const { return to == "safetensors" || to == "peft"; }
};

/// Formats of tensors that values change: those of GGUF files.
std::vector<std::string> float_names_first() {
  std::vector<std::string> out;
  formats::for_each([&]<class S>(S) {
    if (S::gguf_type != no_gguf_type) {
      out.emplace_back(S::name);
    }
  });
  return out;
}

void print_model(const export_options& o, const export_summary& sum) {
  std::printf("%s: %lld tensors, %lld of them tuned and now %s; %s -> %s\n", o.out.c_str(),
              static_cast<long long>(sum.tensors), static_cast<long long>(sum.touched),
              o.format.c_str(), in_megabytes(sum.bytes_before).c_str(),
              in_megabytes(sum.bytes_after).c_str());
  std::printf("rounded away: %.3g %% of the weights, %.3g %% of what tuning changed\n",
              100 * sum.error.relative(), 100 * sum.lost.relative());
}

void print_adapter(const export_options& o, const adapter_summary& sum) {
  std::printf("%s: %s for %lld modules, r %lld, %s values", o.out.c_str(),
              std::string(sum.kind).c_str(), static_cast<long long>(sum.modules),
              static_cast<long long>(sum.rank), with_commas(sum.values).c_str());
  std::printf(sum.filled > 0 ? " and %s zeros that PEFT's layout asks for\n" : "\n",
              with_commas(sum.filled).c_str());
}

nlohmann::json json_of(const export_summary& sum) {
  return {{"tensors", sum.tensors},
          {"touched", sum.touched},
          {"weights", sum.weights},
          {"bytes_before", sum.bytes_before},
          {"bytes_after", sum.bytes_after},
          {"error", sum.error.relative()},
          {"change_lost", sum.lost.relative()}};
}

nlohmann::json json_of(const adapter_summary& sum) {
  return {{"kind", sum.kind},
          {"modules", sum.modules},
          {"rank", sum.rank},
          {"values", sum.values},
          {"filled", sum.filled}};
}

}  // namespace

int export_model(CLI::App& app, const std::function<void()>& parse) {
  export_options o;
  app.add_option("--model", o.model,
                 "The model: a GGUF file, a Hugging Face folder, or what quantize wrote")
      ->required()
      ->check(not_empty());
  app.add_option("--delta", o.delta, "The tuned values; without them the model as it is");
  app.add_option(
         "--to", o.to,
         "gguf: a model for llama.cpp; gguf-lora: LoRA values as its adapter; safetensors: a "
         "Hugging Face folder; peft: an adapter of PEFT, SHiRA or LoRA")
      ->required()
      ->check(CLI::IsMember({"gguf", "gguf-lora", "safetensors", "peft"}));
  app.add_option("--out", o.out, "The file, or the folder, to write")
      ->required()
      ->check(not_empty());
  auto* format =
      app.add_option("--format", o.format,
                     "gguf: the format of the tensors that values change; safetensors: of all")
          ->check(CLI::IsMember(float_names_first()))
          ->capture_default_str();
  auto* shard_size =
      app.add_option("--shard-size", o.shard_size, "safetensors: most bytes of a file: 500MB, 5GB")
          ->capture_default_str();
  app.add_flag("--force", o.force,
               "Replace the file if there is one; a folder must be new or empty");
  app.add_flag("--json", o.json, "Print one line of JSON");
  parse();
  const bool whole = o.to == "gguf" || o.to == "safetensors";
  require_option(whole || format->count() == 0, "--format", "--to " + o.to + " is always f32");
  require_option(o.to == "safetensors" || shard_size->count() == 0, "--shard-size",
                 "is for --to safetensors");
  require_option(whole || !o.delta.empty(), "--delta", "--to " + o.to + " needs it");
  const index_t shard_bytes = bytes_option("--shard-size", o.shard_size);
  require(o.is_folder() || o.force || !exists_at(o.out), o.out,
          ": is there already; --force replaces it");

  const interrupt asked;
  std::optional<progress> bar;
  const auto start = std::chrono::steady_clock::now();
  const auto tell = [&](index_t done, index_t all) {
    constexpr index_t million = 1'000'000;
    if (!bar.has_value()) {
      bar.emplace("export", (all + million - 1) / million);
    }
    bar->show((done + (done == all ? million - 1 : 0)) / million, "million weights");
    interrupt::check("stopped; nothing was written");
  };
  const tuned_model m(o.model, o.delta);
  nlohmann::json line;
  const auto report = [&](const auto& sum, const auto& print) {
    bar.reset();
    line = json_of(sum);
    if (!o.json) {
      print(o, sum);
    }
  };
  if (o.to == "gguf") {
    report(export_gguf(m, o.out, o.format, tell), print_model);
  } else if (o.to == "safetensors") {
    report(export_folder(m, o.out, {.format = o.format, .shard_bytes = shard_bytes}, tell),
           print_model);
  } else if (o.to == "gguf-lora") {
    report(export_gguf_lora(m, o.out), print_adapter);
  } else {
    report(export_peft(m, o.out), print_adapter);
  }
  if (o.json) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    line["out"] = o.out;
    line["to"] = o.to;
    line["view"] = m.view().empty() ? nlohmann::json(nullptr) : nlohmann::json(m.view());
    line["seconds"] = seconds.count();
    line["peak_rss_bytes"] = peak_rss_bytes();
    print_json(line);
  }
  return 0;
}

}  // namespace zoq::cli
