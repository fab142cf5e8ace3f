// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <zoq/model/quantize.hpp>

#include "command.hpp"
#include "interrupt.hpp"
#include "progress.hpp"

namespace zoq::cli {

namespace {

constexpr const char* as_it_is = "same";

/// The names of all formats that a GGUF file can hold.
std::vector<std::string> file_format_names() {
  std::vector<std::string> out;
  formats::for_each([&]<class S>(S) {
    if (S::gguf_type != no_gguf_type) {
      out.emplace_back(S::name);
    }
  });
  return out;
}

/// Sums over the tensors of one kind: "ffn_down" of all layers.
struct kind_sum {
  std::string kind;
  std::vector<std::string> from;
  std::string to;
  index_t tensors = 0, weights = 0, bytes_before = 0, bytes_after = 0;
  encoding_error error;

  void add(const tensor_change& t) {
    if (std::find(from.begin(), from.end(), t.from) == from.end()) {
      from.emplace_back(t.from);
    }
    to = t.to;
    ++tensors;
    weights += t.weights;
    bytes_before += t.bytes_before;
    bytes_after += t.bytes_after;
    error += t.error;
  }
  [[nodiscard]] nlohmann::json json() const {
    return {{"tensors", tensors},
            {"weights", weights},
            {"from", from},
            {"to", to},
            {"bytes_before", bytes_before},
            {"bytes_after", bytes_after},
            {"error", error.relative()}};
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

void print_line(const char* kind, const std::string& formats, index_t tensors, index_t before,
                index_t after, const encoding_error& error) {
  std::printf("%-12s %4lld  %-16s %12s -> %12s  %8.3f %%\n", kind, static_cast<long long>(tensors),
              formats.c_str(), in_megabytes(before).c_str(), in_megabytes(after).c_str(),
              100 * error.relative());
}

}  // namespace

int quantize(CLI::App& app, const std::function<void()>& parse) {
  std::string model, out, linear, embedding = as_it_is, head = as_it_is;
  bool force = false, json = false;
  const std::vector<std::string> names = file_format_names();
  std::vector<std::string> names_or_same = names;
  names_or_same.emplace_back(as_it_is);
  app.add_option("--model", model, "The model to read, a GGUF file")->required();
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
  app.add_option("--out", out, "The file to write")->required();
  app.add_flag("--force", force, "Replace the file if there is one");
  app.add_flag("--json", json, "Print one line of JSON");
  parse();
  require(force || !std::filesystem::exists(out), out, ": is there already; --force replaces it");

  const interrupt asked;
  std::optional<progress> bar;
  const auto start = std::chrono::steady_clock::now();
  const auto changes = quantize_file(model, out,
                                     {.linear = linear,
                                      .embedding = embedding == as_it_is ? "" : embedding,
                                      .head = head == as_it_is ? "" : head},
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
    nlohmann::json line = {{"out", out},
                           {"format", linear},
                           {"weights", total.weights},
                           {"bytes_before", total.bytes_before},
                           {"bytes_after", total.bytes_after},
                           {"error", total.error.relative()},
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
    print_line(k.kind.c_str(), formats + " -> " + k.to, k.tensors, k.bytes_before, k.bytes_after,
               k.error);
  }
  print_line("all", "", total.tensors, total.bytes_before, total.bytes_after, total.error);
  return 0;
}

}  // namespace zoq::cli
