// SPDX-License-Identifier: Apache-2.0
#include "choose_mask.hpp"

#include <iostream>
#include <zoq/data/windows.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/score/simple.hpp>
#include <zoq/sparse/top_k.hpp>

#include "interrupt.hpp"
#include "jobs.hpp"
#include "on_device.hpp"
#include "progress.hpp"

namespace zoq::cli {

void mask_options::add_to(CLI::App& app, const char* samples_name, const char* length_name) {
  app.add_option("--density", density, "Share of the weights of linear layers that is tuned")
      ->capture_default_str();
  app.add_option("--scope", scope, "Take that share of each matrix, or of all weights together")
      ->check(CLI::IsMember({"matrix", "global"}))
      ->capture_default_str();
  app.add_option(samples_name, samples, "Windows of text for the fisher score")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option(length_name, length, "Tokens of each window")
      ->check(CLI::Range(index_t{2}, index_t{1} << 20))
      ->capture_default_str();
}

void mask_options::validate() const {
  require_option(density > 0 && density <= 1, "--density",
                 text("wanted a number above 0 and at most 1, found ", density));
}

nlohmann::json mask_options::describe() const {
  nlohmann::json out = {{"score", score}, {"density", density}, {"scope", scope}, {"seed", seed}};
  if (score == "fisher") {
    const mapped_file text(text_file);
    out["text"] = content_hash().add(text.bytes()).hex();
    out["samples"] = samples;
    out["length"] = length;
  }
  return out;
}

mask choose_mask(const model_options& common, const opened_model& m, const mask_options& options) {
  const top_k_options best{options.density, scope_named(options.scope)};
  mask out;
  if (options.score == "fisher") {
    const std::vector<token_t> tokens = read_text(options.text_file, m.words, common.mode());
    std::vector<index_t> first;
    try {
      first = choose_windows(static_cast<index_t>(tokens.size()),
                             {options.samples, options.length, options.seed});
    } catch (const error& e) {
      fail(options.text_file, ": ", e.what());
    }
    if (static_cast<index_t>(first.size()) < options.samples) {
      std::cerr << "zoq: " << options.text_file << " has only " << first.size() << " windows of "
                << options.length << " tokens, " << options.samples << " were asked for\n";
    }
    require(options.length <= m.model.config().context, "windows of ", options.length,
            " tokens are longer than the model's context of ", m.model.config().context);
    std::optional<progress> shown;
    const auto tell = [&](index_t done, index_t all) {
      if (!shown.has_value()) {
        shown.emplace("mask", all);
      }
      shown->show(done, text(first.size(), " x ", options.length, " tokens"));
      interrupt::check("stopped while making the mask; nothing was written");
    };
    const auto windows = windows_at(tokens, first, options.length);
    out = on_device(common.in_float(), fisher_job{m, windows, best, tell});
  } else if (options.score == "magnitude") {
    out = top_k(magnitude(m.model.tensors()), best);
  } else {
    out = top_k(random_score(m.model.tensors(), options.seed), best);
  }
  out.model_hash = m.model.hash();
  const nlohmann::json origin = options.describe();
  for (const auto& [key, value] : origin.items()) {
    out.about[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return out;
}

int make_mask(CLI::App& app, const std::function<void()>& parse) {
  model_options common;
  mask_options options;
  options.score = "fisher";
  std::string out;
  common.add_to(app);
  app.add_option("--text", options.text_file, "General text, for the fisher score");
  app.add_option("--score", options.score, "What makes a weight sensitive")
      ->check(CLI::IsMember({"fisher", "magnitude", "random"}))
      ->capture_default_str();
  options.add_to(app, "--samples", "--length");
  app.add_option("--seed", options.seed, "Chooses windows, and random masks")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--out", out, "The mask, a safetensors file")->required();
  parse();
  common.validate();
  options.validate();
  require_option(options.score != "fisher" || !options.text_file.empty(), "--text",
                 "the fisher score needs a file");

  const interrupt asked;
  const opened_model m(common.model);
  const mask made = choose_mask(common, m, options);
  require(made.count() > 0, "the mask has no places: the density is too small");
  write_mask(out, made);

  const index_t all = linear_weights(m.model.tensors());
  const double share = static_cast<double>(made.count()) / static_cast<double>(all);
  if (common.json) {
    print_json({{"mask", out},
                {"count", made.count()},
                {"of", all},
                {"share", share},
                {"tensors", made.tensors.size()},
                {"hash", made.hash()},
                {"model", made.model_hash},
                {"peak_rss_bytes", peak_rss_bytes()}});
  } else {
    std::cout << out << ": " << with_commas(made.count()) << " of " << with_commas(all)
              << " weights in " << made.tensors.size() << " matrices; peak memory "
              << in_megabytes(peak_rss_bytes()) << "\n";
  }
  return 0;
}

}  // namespace zoq::cli
