// One line of a study's plan: all settings of a run. Policies are texts, as `zoq finetune` takes them.
//
//     {"study": "masks", "task": "movies", "name": "fisher 0.1 %", "density": 0.001, "steps": 100, "seed": 1}
//
//     for (const zoq::study::plan_line& run : zoq::study::read_plan("plan.jsonl")) { ... }
//
// A key that is left out, or null, has its default; the line that is kept with the results names all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>
#include <zoq/core/config.hpp>
#include <zoq/core/error.hpp>
#include <zoq/core/hash.hpp>
#include <zoq/io/json.hpp>

namespace zoq::study {

struct plan_line {
  std::string study, task, name;       // what it is for, which rows, and what tables call it
  std::string kind = "tune";           // or "mask" or "slopes": measures.hpp
  std::string model;                   // a file, from the data folder; empty: --model
  std::string view = "sparse";         //
  std::string mask;                    // SCORE, SCORE:FILE or a mask's file; empty: none
  std::string mask_settings;           // of the score
  std::string scope = "matrix";        // the share is of each matrix, or "global"
  std::string start;                   // values to start from, a file in the data folder
  std::string against;                 // what it is held against: scores, or the other model's file
  std::string layers, exclude;         // which tensors are tuned
  std::string prompt_text;             // what a soft prompt begins as
  std::string estimator = "spsa";      //
  std::string optimizer = "sgd";       //
  std::string direction = "gaussian";  //
  std::string schedule = "constant";   //
  std::string objective;               // empty: what suits the rows
  std::string row_order = "stratified";  // each answer in its share of a batch; or "shuffled"
  std::string compute = "f32";           // what matrix products use; auto: what tuning uses
  double density = 0.001;                // share of the weights
  double clip = 0, clip_norm = 0;        // 0: no limit
  double stop_below = 0;                 // the run ends once the measured loss is below
  std::optional<double> epsilon;         // none, "auto": measured
  index_t mask_samples = 0, mask_length = 128;  // as `zoq mask` has them
  index_t steps = 0, forwards = 0;  // one of them: steps, or losses of a batch that they may take
  index_t batch_size = 16;
  index_t eval_every = 10, eval_rows = 400, test_rows = 1000;  // 0: none
  index_t train_rows = 0;  // the first rows of train.jsonl; 0: all
  index_t shots = 0;       // rows of train.jsonl before every prompt; for runs of 0 steps
  seed_t seed = 0, mask_seed = 0, against_seed = 0;
  bool test_best = false;  // test also the values that did best on valid rows

  /// Calls f(key, member) for all of them.
  template <class Self, class F>
  static void fields(Self& self, F&& f) {
    f("study", self.study);
    f("task", self.task);
    f("name", self.name);
    f("kind", self.kind);
    f("model", self.model);
    f("view", self.view);
    f("mask", self.mask);
    f("mask_settings", self.mask_settings);
    f("scope", self.scope);
    f("start", self.start);
    f("against", self.against);
    f("layers", self.layers);
    f("exclude", self.exclude);
    f("prompt_text", self.prompt_text);
    f("estimator", self.estimator);
    f("optimizer", self.optimizer);
    f("direction", self.direction);
    f("schedule", self.schedule);
    f("objective", self.objective);
    f("row_order", self.row_order);
    f("compute", self.compute);
    f("density", self.density);
    f("clip", self.clip);
    f("clip_norm", self.clip_norm);
    f("stop_below", self.stop_below);
    f("epsilon", self.epsilon);
    f("mask_samples", self.mask_samples);
    f("mask_length", self.mask_length);
    f("steps", self.steps);
    f("forwards", self.forwards);
    f("batch_size", self.batch_size);
    f("eval_every", self.eval_every);
    f("eval_rows", self.eval_rows);
    f("test_rows", self.test_rows);
    f("train_rows", self.train_rows);
    f("shots", self.shots);
    f("seed", self.seed);
    f("mask_seed", self.mask_seed);
    f("against_seed", self.against_seed);
    f("test_best", self.test_best);
  }

  /// "masks/movies/fisher 0.1 %", which --only is matched with.
  [[nodiscard]] std::string title() const { return study + "/" + task + "/" + name; }
};

namespace detail {

/// Throws, naming place and key, when the value is of another type or out of range.
template <class T>
void read_field(const nlohmann::json& value, T& member, const std::string& where) {
  if constexpr (std::is_same_v<T, std::optional<double>>) {
    if (value.is_string() && value.get_ref<const std::string&>() == "auto") {
      member.reset();
      return;
    }
    read_field(value, member.emplace(), where);
  } else {
    const bool right = std::is_same_v<T, bool>          ? value.is_boolean()
                       : std::is_same_v<T, std::string> ? value.is_string()
                       : std::is_integral_v<T>          ? value.is_number_unsigned()
                                                        : value.is_number();
    require(right, where, " is ", value.dump(), ", wanted ",
            std::is_same_v<T, bool>          ? "true or false"
            : std::is_same_v<T, std::string> ? "a text"
            : std::is_integral_v<T>          ? "a whole number of at least 0"
                                             : "a number");
    member = value.get<T>();
  }
}

}  // namespace detail

/// One line. Throws, starting with `where`, on broken JSON, unknown keys, and values of other types.
inline plan_line read_plan_line(std::string_view line, const std::string& where) {
  const nlohmann::json from = parse_json(line, where);
  require(from.is_object(), where, ": a JSON ", from.type_name(), ", wanted an object");
  plan_line out;
  std::set<std::string> known;
  plan_line::fields(out, [&](const char* key, auto& member) {
    known.insert(key);
    const auto at = from.find(key);
    if (at != from.end() && !at->is_null()) {
      detail::read_field(*at, member, where + ": \"" + key + "\"");
    }
  });
  for (const auto& [key, value] : from.items()) {
    require(known.count(key) == 1, where, ": unknown key \"", key, "\"");
  }
  for (const std::string* one : {&out.study, &out.task, &out.name}) {
    require(!one->empty(), where, ": study, task and name must be given");
  }
  require(out.kind == "tune" || out.kind == "mask" || out.kind == "slopes", where, ": kind \"",
          out.kind, "\", wanted tune, mask or slopes");
  require(out.steps == 0 || out.forwards == 0, where, ": steps and forwards are both given");
  require(out.shots == 0 || out.steps + out.forwards == 0, where,
          ": shots are for runs without steps");
  require(out.row_order == "stratified" || out.row_order == "shuffled", where, ": row_order \"",
          out.row_order, "\", wanted stratified or shuffled");
  require(out.batch_size > 0, where, ": batch_size is 0");
  return out;
}

/// All lines of a file; empty ones are passed over. Throws, naming file and line.
inline std::vector<plan_line> read_plan(const std::string& path) {
  std::ifstream file(path);
  require(file.good(), path, ": cannot be opened");
  std::vector<plan_line> out;
  index_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") != line.npos) {
      out.push_back(read_plan_line(line, text(path, ":", number)));
    }
  }
  require(!out.empty(), path, ": has no runs");
  return out;
}

/// The line with all its settings.
inline nlohmann::json json_of(const plan_line& line) {
  nlohmann::json out;
  plan_line::fields(line, [&]<class T>(const char* key, const T& member) {
    if constexpr (std::is_same_v<T, std::optional<double>>) {
      out[key] = member.has_value() ? nlohmann::json(*member) : nlohmann::json("auto");
    } else {
      out[key] = member;
    }
  });
  return out;
}

/// Names a run of this line on this model; `settings_key` names it whatever it is called, so that runs
/// that several studies need are made once.
inline std::string key_of(const nlohmann::json& line, const std::string& model_hash) {
  return content_hash().add(line.dump()).add(model_hash).hex();
}
inline std::string settings_key_of(nlohmann::json line, const std::string& model_hash) {
  line.erase("study");
  line.erase("name");
  return key_of(line, model_hash);
}

}  // namespace zoq::study
