// SPDX-License-Identifier: Apache-2.0
#include "choose_mask.hpp"

#include <iostream>
#include <limits>
#include <map>
#include <zoq/core/hash.hpp>
#include <zoq/data/row_order.hpp>
#include <zoq/data/windows.hpp>
#include <zoq/io/atomic_file.hpp>
#include <zoq/io/byte_reader.hpp>
#include <zoq/io/dense_mask_file.hpp>
#include <zoq/io/mapped_file.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/score/scores.hpp>
#include <zoq/sparse/top_k.hpp>

#include "interrupt.hpp"
#include "jobs.hpp"
#include "on_device.hpp"
#include "option_checks.hpp"
#include "progress.hpp"

namespace zoq::cli {

namespace {

/// Windows of the text, chosen by the seed.
std::vector<std::vector<token_t>> windows_of(const model_options& common, const opened_model& m,
                                             const mask_options& options, index_t samples) {
  const std::vector<token_t> tokens = read_text(options.source, m.words, common.mode());
  std::vector<index_t> first;
  try {
    first = choose_windows(static_cast<index_t>(tokens.size()),
                           {samples, options.length, options.seed});
  } catch (const error& e) {
    fail(options.source, ": ", e.what());
  }
  if (static_cast<index_t>(first.size()) < samples) {
    std::cerr << "zoq: " << printable(options.source, 2000) << " has only " << first.size()
              << " windows of " << options.length << " tokens, " << samples << " were asked for\n";
  }
  require(options.length <= m.model.config().context, "windows of ", options.length,
          " tokens are longer than the model's context of ", m.model.config().context);
  return windows_at(tokens, first, options.length);
}

/// Some rows, chosen by the seed.
score_samples some_rows(const model_options& common, const opened_model& m,
                        const mask_options& options, index_t samples) {
  task_rows all = read_task(options.source, m, common.mode());
  const auto count = static_cast<index_t>(all.rows.size());
  score_samples out{{}, {}, std::move(all.objective)};
  for (const index_t i : row_order(count, std::min(samples, count), options.seed).batch(0)) {
    out.rows.push_back(std::move(all.rows[static_cast<std::size_t>(i)]));
  }
  return out;
}

bool needs_samples(const score_entry& s) { return s.needs_text || s.needs_rows; }

}  // namespace

void mask_options::add_to(CLI::App& app, const char* samples_name, const char* length_name) {
  samples_option = samples_name;
  length_option = length_name;
  app.add_option("--density", density, "Share of the weights of linear layers that is tuned")
      ->check(real_number(0, 1))
      ->capture_default_str();
  app.add_option("--scope", scope, "Take that share of each matrix, or of all weights together")
      ->check(CLI::IsMember({"matrix", "global"}))
      ->capture_default_str();
  app.add_option("--score-settings", settings, "Settings of the score, as name=value,name=value");
  app.add_option(
         samples_name, samples,
         "Windows of text, or rows, that the score sees; 0: 48, and 4 where each costs forwards "
         "for every matrix")
      ->check(whole_number(0))
      ->capture_default_str();
  app.add_option(length_name, length, "Tokens of each window")
      ->check(whole_number(2, 1 << 20))
      ->capture_default_str();
}

void mask_options::validate() const {
  require_option(density > 0, "--density",
                 text("wanted a number above 0 and at most 1, found ", density));
  require_utf8("--score-settings", settings);  // a mask's file tells them
  if (score.empty()) {
    return;
  }
  const score_entry& s = score_named(score);
  require_option(!needs_samples(s) || !source.empty(), score_option.c_str(),
                 text("the score ", score, " needs ",
                      s.needs_text && s.needs_rows ? "a text, or rows (a .jsonl file)"
                      : s.needs_text               ? "a text"
                                                   : "rows (a .jsonl file)"));
  require_option(
      source.empty() || (of_rows() ? s.needs_rows : s.needs_text), score_option.c_str(),
      text("the score ", score, of_rows() ? " takes no rows: " : " takes no text: ", source));
}

void mask_options::require_used(const CLI::App& app, const std::string& without_score) const {
  const auto require_none = [&](const std::string& option, const std::string& why) {
    require_option(app.count(option) == 0, option.c_str(), "it has no effect: " + why);
  };
  if (score.empty()) {
    for (const std::string& option :
         {std::string("--density"), std::string("--scope"), std::string("--score-settings"),
          samples_option, length_option}) {
      require_none(option, without_score);
    }
    return;
  }
  const std::string the_score = "the score " + score;
  if (!needs_samples(score_named(score))) {
    require_none(samples_option, the_score + " sees no samples");
    require_none("--score-settings", the_score + " has no settings");
  }
  if (score == hessian_trace<any_executor, int>::name) {
    require_none("--scope", the_score + " has a budget for each matrix");
  }
  if (!needs_samples(score_named(score)) || of_rows()) {
    require_none(length_option, the_score + (of_rows() ? " sees whole rows" : " sees no text"));
  }
}

bool mask_options::read(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const score_entry& s : score_entries) {
    if (s.name == name) {
      score = name;
      source = colon == text.npos ? "" : text.substr(colon + 1);
      return true;
    }
  }
  return false;
}

nlohmann::json mask_options::describe() const {
  nlohmann::json out = {{"score", score}, {"density", density}, {"scope", scope}, {"seed", seed}};
  if (needs_samples(score_named(score))) {
    const mapped_file file(source);
    out[of_rows() ? "rows" : "text"] = content_hash().add(file.bytes()).hex();
    out["samples"] = samples;
    out["length"] = length;
    out["settings"] = settings;
  }
  return out;
}

mask choose_mask(const model_options& common, const opened_model& m, const mask_options& options,
                 const zoq::tuned_values* at) {
  const score_entry& score = score_named(options.score);
  score_samples samples;
  if (needs_samples(score)) {
    const index_t wanted = options.samples > 0 ? options.samples : score.needs_reverse ? 48 : 4;
    samples = options.of_rows() ? some_rows(common, m, options, wanted)
                                : samples_of_text(windows_of(common, m, options, wanted));
  }
  std::optional<progress> shown;
  const auto tell = [&](index_t done, index_t all) {
    if (!shown.has_value() || done == 1) {
      shown.emplace("mask", all);
    }
    shown->show(done, text(samples.rows.size(), " samples"));
    interrupt::check("stopped while making the mask; nothing was written");
  };
  std::map<std::string, std::string> about;
  const nlohmann::json origin = options.describe();
  for (const auto& [key, value] : origin.items()) {
    about[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  const std::string hash = m.model.hash();
  std::map<std::string, std::string> with_model = about;
  with_model["model"] = hash;
  mask out =
      on_device(common.in_float(), mask_job{m, options, samples, at, tell, std::move(with_model)});
  out.model_hash = hash;
  out.about.insert(about.begin(), about.end());
  return out;
}

int make_mask(CLI::App& app, const std::function<void()>& parse) {
  model_options common;
  mask_options options;
  options.score = "fisher";
  options.score_option = "--score";
  std::string out;
  common.add_to(app);
  std::vector<std::string> names;
  for (const score_entry& s : score_entries) {
    names.emplace_back(s.name);
  }
  std::string text_file, rows, delta_file, form = "zoq";
  app.add_option("--text", text_file, "General text that the score sees");
  app.add_option("--data", rows, "Rows that the score sees, a file of JSON lines");
  app.add_option("--delta", delta_file, "Tuned values to put on the model before it is scored");
  app.add_option("--score", options.score, "What makes a weight sensitive")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  options.add_to(app, "--samples", "--length");
  app.add_option("--seed", options.seed, "Chooses windows, and random masks")
      ->check(whole_number(0, std::numeric_limits<seed_t>::max()))
      ->capture_default_str();
  app.add_option("--out", out, "The mask, a safetensors file")->required()->check(not_empty());
  app.add_option(
         "--form", form,
         "zoq's own, or for other tools: a boolean for every weight, under the names of GGUF or of "
         "Hugging Face")
      ->check(CLI::IsMember({"zoq", "gguf", "hf"}))
      ->capture_default_str();
  app.add_option("--save-scores", options.save_scores,
                 "Write the scores of all weights too, a safetensors file: quantize --importance");
  parse();
  common.validate();
  require_option(text_file.empty() || rows.empty(), "--text", "a text or --data, not both");
  options.source = rows.empty() ? text_file : rows;
  require_option(rows.empty() || options.of_rows(), "--data", rows + " is no .jsonl file");
  options.validate();
  options.require_used(app, "");
  require_option(delta_file.empty() || score_named(options.score).at_values, "--delta",
                 text("the score ", options.score, " does not look at tuned values"));
  for (const std::string& file : {out, options.save_scores}) {
    require_replaceable(file, ".safetensors");
    require_no_input(file, {common.model, options.source, delta_file});
  }
  require_option(options.save_scores != out, "--save-scores", out + " is the mask's file");

  const interrupt asked;
  const opened_model m(common.model);
  const zoq::tuned_values at = values_for(m, delta_file);
  const mask made = choose_mask(common, m, options, &at);
  require(made.count() > 0, "the mask has no places: the density is too small");
  if (form == "zoq") {
    write_mask(out, made);
  } else {
    const decoder_config& c = m.model.config();
    write_dense_mask(out, made, {form == "hf" ? naming::hf : naming::gguf, c.heads, c.kv_heads});
  }

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
