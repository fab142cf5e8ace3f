// What the runs of a study share, each made once: opened models, rows of tasks, scores and masks.
//
//     zoq::study::sources from({.data = "data", .model = "model.gguf", .kept = "results.kept"});
//     const zoq::study::studied_model& m = from.model(line);
//     const zoq::mask& places = from.places(line);
//
// Scores that cost forwards are kept as files (4 bytes a weight): masks of all densities come from one
// pass; masks are kept too. Both are named by a hash of all that they depend on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>
#include <zoq/core/hash.hpp>
#include <zoq/core/settings.hpp>
#include <zoq/data/row_order.hpp>
#include <zoq/io/dense_mask_file.hpp>
#include <zoq/io/mask_file.hpp>
#include <zoq/io/safetensors.hpp>
#include <zoq/score/saved.hpp>
#include <zoq/score/scores.hpp>
#include <zoq/sparse/top_k.hpp>

#include "choose_mask.hpp"
#include "command.hpp"
#include "plan_line.hpp"

namespace zoq::study {

/// Scores that lie in a file, as `top_k` takes them: a matrix at a time, in the model's order.
class stored_scores {
 public:
  stored_scores(const std::string& path, std::span<const model_tensor> tensors)
      : file_(safetensors_file::open(path)), matrices_(scored_matrices(tensors)) {}

  [[nodiscard]] index_t entries() const {
    index_t n = 0;
    for (const scored_matrix& m : matrices_) {
      n += m.rows * m.columns;
    }
    return n;
  }
  template <class Visit>
  void visit(Visit&& visit) const {
    for (const scored_matrix& m : matrices_) {
      const std::vector<float> scores = file_.values<float>(m.name);
      visit(m.name, m.rows, m.columns, std::span<const float>(scores));
    }
  }

 private:
  safetensors_file file_;
  std::vector<scored_matrix> matrices_;
};

/// A model, and its hash, which takes a reading of every byte.
struct studied_model : cli::opened_model {
  explicit studied_model(const std::string& path) : opened_model(path), hash(model.hash()) {}
  std::string hash;
};

/// Rows of a task, with their objective.
struct task {
  cli::task_rows train, valid, test;
};

struct source_options {
  std::string data;   // a folder with general.txt and a folder for each task
  std::string model;  // of lines that name none
  std::string kept;   // a folder for scores and masks
  int threads = 0;
  std::string kernels = "auto";
};

class sources {
 public:
  explicit sources(source_options options) : o_(std::move(options)) {
    std::filesystem::create_directories(o_.kept);
  }

  const studied_model& model(const plan_line& line) { return model(line.model); }
  /// The model of this file, from the data folder; of no name --model.
  const studied_model& model(const std::string& name) {
    const std::string path = name.empty() ? o_.model : in_data(name);
    auto found = models_.find(path);
    if (found == models_.end()) {
      found = models_.try_emplace(path, path).first;
    }
    return found->second;
  }

  /// The rows of the line's task, without its shots. Throws, naming file and line, as read_task.
  const task& rows(const plan_line& line) {
    const studied_model& m = model(line);
    const std::string key = m.hash + " " + line.task + " " + line.objective;
    auto found = tasks_.find(key);
    if (found == tasks_.end()) {
      const auto read = [&](const char* file) {
        return cli::read_task(in_data(line.task + "/" + file), m, special::plain,
                              {.objective = line.objective});
      };
      found =
          tasks_.emplace(key, task{read("train.jsonl"), read("valid.jsonl"), read("test.jsonl")})
              .first;
    }
    return found->second;
  }

  /// The places that the line's mask names; those of the last call are kept. Throws where there is no
  /// such score or file, and cli::stopped on a signal.
  const mask& places(const plan_line& line) {
    const studied_model& m = model(line);
    const cli::mask_options how = mask_of(line, line.mask, line.mask_seed);
    const std::string name =
        how.score.empty() ? in_data(line.mask) : named("mask", m, how.describe());
    if (name != last_name_) {
      last_ = how.score.empty()               ? read_for(m, name)
              : std::filesystem::exists(name) ? read_mask(name)
              : keeps_scores(how.score)       ? top_k(scores(line, line.mask, line.mask_seed),
                                                      {how.density, scope_named(how.scope)})
                                              : cli::choose_mask(common(), m, how);
      last_.model_hash = m.hash;
      if (!how.score.empty() && !std::filesystem::exists(name)) {
        write_mask(name, last_);
      }
      last_name_ = name;
    }
    return last_;
  }

  /// The scores of all weights. Throws for scores that are not kept.
  stored_scores scores(const plan_line& line, const std::string& text, seed_t seed) {
    const studied_model& m = model(line);
    cli::mask_options how = mask_of(line, text, seed);
    require(keeps_scores(how.score), "the scores of \"", text, "\" are not kept");
    nlohmann::json about = how.describe();
    about.erase("density");
    about.erase("scope");
    const std::string path = named("scores", m, about);
    if (!std::filesystem::exists(path)) {
      how.density = 1e-6;
      how.save_scores = path;
      static_cast<void>(cli::choose_mask(common(), m, how));
    }
    return {path, m.model.tensors()};
  }

  /// The values that the line starts from; none where it names no file. Throws when they are another
  /// model's or another view's.
  zoq::tuned_values start_of(const plan_line& line) {
    zoq::tuned_values out;
    if (!line.start.empty()) {
      const std::string path = in_data(line.start);
      out = cli::values_for(model(line), path);
      const auto view = policy_named<any_view>("view", line.view);
      require(name_of(out.how) == name_of(view), path, ": of the view ", name_of(out.how),
              ", the line has the view ", line.view);
      require(line.mask.empty() && line.layers.empty() && line.exclude.empty(), path,
              ": says what is tuned, and the line has a mask or layers too");
    }
    return out;
  }

  [[nodiscard]] const source_options& options() const { return o_; }

 private:
  [[nodiscard]] std::string in_data(const std::string& path) const {
    return (std::filesystem::path(o_.data) / path).string();
  }
  [[nodiscard]] cli::model_options common() const {
    cli::model_options out;
    out.threads = o_.threads;
    out.kernels = o_.kernels;
    return out;
  }
  static mask read_for(const studied_model& m, const std::string& path) {
    mask out = read_any_mask(
        path, {.heads = m.model.config().heads, .kv_heads = m.model.config().kv_heads});
    require_model(out, m.hash, path);
    return out;
  }
  // Whose scores of all weights are written while the mask is made, and say all about it.
  static bool keeps_scores(const std::string& score) {
    return score == "fisher" || score == "fisher-task" || score == "loss-sensitivity";
  }
  [[nodiscard]] std::string named(const char* what, const studied_model& m,
                                  nlohmann::json about) const {
    about["model"] = m.hash;
    return o_.kept + "/" + what + "-" + content_hash().add(about.dump()).hex() + ".safetensors";
  }
  // A score without its source sees general.txt, or the rows of the task.
  cli::mask_options mask_of(const plan_line& line, const std::string& text, seed_t seed) const {
    cli::mask_options out;
    out.density = line.density;
    out.scope = line.scope;
    out.seed = seed;
    out.settings = line.mask_settings;
    out.samples = line.mask_samples;
    out.length = line.mask_length;
    if (out.read(text)) {
      const score_entry& s = score_named(out.score);
      out.source = !out.source.empty() ? in_data(out.source)
                   : s.needs_text      ? in_data("general.txt")
                   : s.needs_rows      ? in_data(line.task + "/train.jsonl")
                                       : std::string();
      out.validate();
    }
    return out;
  }

  source_options o_;
  std::map<std::string, studied_model> models_;
  std::map<std::string, task> tasks_;
  std::string last_name_;
  mask last_;
};

/// `rows` with `shots` of `from` before every prompt, as text with the right answers, a line each: drawn by
/// the seed, of all answers in turn. Throws when there are too few.
inline std::vector<example> with_shots(std::span<const example> rows, std::span<const example> from,
                                       index_t shots, seed_t seed, const tokenizer& words) {
  const auto all = static_cast<index_t>(from.size());
  require(shots <= all, shots, " shots from ", all, " rows");
  std::map<index_t, std::vector<const example*>> by_answer;
  for (const index_t i : row_order(all, all, seed).batch(0)) {
    const example& row = from[static_cast<std::size_t>(i)];
    by_answer[row.answer].push_back(&row);
  }
  std::vector<const example*> chosen;
  for (std::size_t round = 0; static_cast<index_t>(chosen.size()) < shots; ++round) {
    for (const auto& [answer, one] : by_answer) {
      if (round < one.size() && static_cast<index_t>(chosen.size()) < shots) {
        chosen.push_back(one[round]);
      }
    }
  }
  const std::vector<token_t> end = words.encode("\n", special::plain);
  std::vector<token_t> before;
  const auto add = [&](const std::vector<token_t>& tokens) {
    // One mark of the beginning is enough.
    const bool mark =
        words.adds_bos() && !before.empty() && !tokens.empty() && tokens[0] == words.bos();
    before.insert(before.end(), tokens.begin() + (mark ? 1 : 0), tokens.end());
  };
  for (const example* shot : chosen) {
    add(shot->prompt);
    add(shot->continuations[static_cast<std::size_t>(shot->answer)]);
    add(end);
  }
  std::vector<example> out(rows.begin(), rows.end());
  for (example& row : out) {
    const std::vector<token_t> kept = before;
    add(row.prompt);
    row.prompt = std::exchange(before, kept);
  }
  return out;
}

}  // namespace zoq::study
