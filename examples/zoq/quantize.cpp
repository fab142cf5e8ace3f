// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <zoq/io/mapped_file.hpp>
#include <zoq/model/quantize.hpp>

#include "command.hpp"
#include "interrupt.hpp"
#include "option_checks.hpp"
#include "progress.hpp"

namespace zoq::cli {

namespace {

constexpr const char* as_it_is = "same";

/// The names of all formats.
std::vector<std::string> format_names() {
  std::vector<std::string> out;
  formats::for_each([&]<class S>(S) { out.emplace_back(S::name); });
  return out;
}

/// Sums over the tensors of one kind: "ffn_down" of all layers.
struct kind_sum {
  std::string kind;
  std::vector<std::string> from;
  std::string to;
  index_t tensors = 0, weights = 0, bytes_before = 0, bytes_after = 0, kept = 0;
  encoding_error error, error_with_kept;

  void add(const tensor_change& t) {
    if (std::find(from.begin(), from.end(), t.from) == from.end()) {
      from.emplace_back(t.from);
    }
    to = t.to;
    ++tensors;
    weights += t.weights;
    bytes_before += t.bytes_before;
    bytes_after += t.bytes_after;
    kept += t.kept;
    error += t.error;
    error_with_kept += t.error_with_kept;
  }
  /// Of the new file, with a place and a value of 4 bytes each for what is kept beside.
  [[nodiscard]] double bits_per_weight() const {
    return 8 * static_cast<double>(bytes_after + 8 * kept) / static_cast<double>(weights);
  }
  [[nodiscard]] nlohmann::json json() const {
    return {{"tensors", tensors},
            {"weights", weights},
            {"from", from},
            {"to", to},
            {"bytes_before", bytes_before},
            {"bytes_after", bytes_after},
            {"bits_per_weight", bits_per_weight()},
            {"kept", kept},
            {"error", error.relative()},
            {"error_with_kept", error_with_kept.relative()}};
  }
};

/// "blk.3.ffn_down.weight" is of the kind "ffn_down".
std::string kind_of_tensor(std::string name) {
  if (name.starts_with("blk.")) {
    name.erase(0, name.find('.', 4) + 1);
  }
  if (name.ends_with(".weight")) {
    name.resize(name.size() - 7);
  }
  return name;
}

/// In the order in which the kinds first appear.
std::vector<kind_sum> by_kind(const std::vector<tensor_change>& changes) {
  std::vector<kind_sum> out;
  for (const tensor_change& t : changes) {
    const std::string kind = kind_of_tensor(t.name);
    auto at = std::find_if(out.begin(), out.end(), [&](const auto& k) { return k.kind == kind; });
    if (at == out.end()) {
      out.emplace_back().kind = kind;
      at = out.end() - 1;
    }
    at->add(t);
  }
  return out;
}

void print_line(const char* kind, const std::string& formats, const kind_sum& k) {
  std::printf("%-12s %4lld  %-16s %12s -> %12s  %6.3f bits  %8.3f %%", kind,
              static_cast<long long>(k.tensors), formats.c_str(),
              in_megabytes(k.bytes_before).c_str(), in_megabytes(k.bytes_after).c_str(),
              k.bits_per_weight(), 100 * k.error_with_kept.relative());
  if (k.kept > 0) {
    std::printf("  (%s kept; without them %.3f %%)", with_commas(k.kept).c_str(),
                100 * k.error.relative());
  }
  std::printf("\n");
}

}  // namespace

int quantize(CLI::App& app, const std::function<void()>& parse) {
  std::string model, out, linear, embedding = as_it_is, head = as_it_is, keep, importance;
  bool force = false, json = false;
  const std::vector<std::string> names = format_names();
  std::vector<std::string> names_or_same = names;
  names_or_same.emplace_back(as_it_is);
  app.add_option("--model", model,
                 "The model to read: a GGUF file, a Hugging Face folder, or what quantize wrote")
      ->required()
      ->check(not_empty());
  app.add_option("--format", linear, "Format of the matrices of linear layers")
      ->required()
      ->check(CLI::IsMember(names));
  app.add_option("--embedding-format", embedding,
                 "Format of the embedding; same: as it is in the model")
      ->check(CLI::IsMember(names_or_same))
      ->capture_default_str();
  app.add_option("--head-format", head, "The same of a head that is not the embedding")
      ->check(CLI::IsMember(names_or_same))
      ->capture_default_str();
  app.add_option("--keep", keep,
                 "A mask of the model: values at its places take no part in the fit and are kept "
                 "beside, in OUT.kept.safetensors");
  app.add_option("--importance", importance,
                 "Weights of squared errors: a safetensors file with a float for each weight of "
                 "the matrices that it has");
  app.add_option("--out", out,
                 "The file to write: GGUF, or a container when its name ends in .safetensors or "
                 "GGUF lacks a format")
      ->required()
      ->check(not_empty());
  app.add_flag("--force", force, "Replace the file if there is one");
  app.add_flag("--json", json, "Print one line of JSON");
  parse();
  for (const std::string& path : {out, keep.empty() ? out : kept_path(out)}) {
    require(force || !exists_at(path), path, ": is there already; --force replaces it");
  }

  const interrupt asked;
  std::optional<progress> bar;
  const auto start = std::chrono::steady_clock::now();
  const auto changes = quantize_file(model, out,
                                     {.linear = linear,
                                      .embedding = embedding == as_it_is ? "" : embedding,
                                      .head = head == as_it_is ? "" : head,
                                      .keep = keep,
                                      .importance = importance},
                                     [&](index_t done, index_t all) {
                                       // Millions of weights: a file of a gigaweight is 1000 of them.
                                       constexpr index_t million = 1'000'000;
                                       if (!bar.has_value()) {
                                         bar.emplace("quantize", (all + million - 1) / million);
                                       }
                                       bar->show((done + (done == all ? million - 1 : 0)) / million,
                                                 "million weights");
                                       interrupt::check("stopped; nothing was written");
                                     });
  bar.reset();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

  kind_sum total;
  for (const tensor_change& t : changes) {
    total.add(t);
  }
  const std::vector<kind_sum> kinds = by_kind(changes);
  if (json) {
    nlohmann::json line = {
        {"out", out},
        {"format", linear},
        {"weights", total.weights},
        {"bytes_before", total.bytes_before},
        {"bytes_after", total.bytes_after},
        {"bits_per_weight", total.bits_per_weight()},
        {"kept", total.kept},
        {"kept_out", keep.empty() ? nlohmann::json(nullptr) : nlohmann::json(kept_path(out))},
        {"error", total.error.relative()},
        {"error_with_kept", total.error_with_kept.relative()},
        {"kinds", nlohmann::json::object()},
        {"seconds", seconds.count()},
        {"peak_rss_bytes", peak_rss_bytes()}};
    for (const kind_sum& k : kinds) {
      line["kinds"][k.kind] = k.json();
    }
    print_json(line);
    return 0;
  }
  for (const kind_sum& k : kinds) {
    std::string formats;
    for (const std::string& name : k.from) {
      formats += (formats.empty() ? "" : "+") + name;
    }
    print_line(k.kind.c_str(), formats + " -> " + k.to, k);
  }
  print_line("all", "", total);
  return 0;
}

}  // namespace zoq::cli
