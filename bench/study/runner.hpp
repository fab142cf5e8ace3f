// One run of a study: from a line of the plan to its results.
//
//     zoq::study::runner run(sources, [&](index_t rows, const std::string& detail) { ... });
//     nlohmann::json results = run(line);      // throws zoq::study::cut when time is up
//
// A line that cannot be run has {"refused": why}; a run whose loss or values stop being finite has
// {"diverged": step} beside what was measured before.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>
#include <zoq/estimate/rounds.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/train/step.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/view/layouts.hpp>

#include "finetuning.hpp"
#include "measures.hpp"
#include "plan_line.hpp"
#include "sources.hpp"

namespace zoq::study {

/// Thrown when a run was ended from outside; its results are not kept.
struct cut : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The steps of a run, and the losses of a batch that they take.
struct run_length {
  std::uint64_t steps = 0;
  index_t evaluations = 0;
};

/// As many steps as the line says, or as its forwards allow: counted by letting the estimator ask for
/// losses of a plain function. Throws as the estimator does.
inline run_length length_of(const plan_line& line) {
  run_length out;
  const index_t most_steps = line.steps > 0 ? line.steps : line.forwards;
  if (most_steps == 0) {
    return out;
  }
  const cpu exec({.threads = 1});
  const extent whole{0, 1, 4};
  policies p(line);
  stepper step(exec, value_order{&whole, 1, 4}, p.estimator, any_optimizer(sgd{.rate = 0}),
               recipe{.steps = static_cast<std::uint64_t>(most_steps)});
  std::vector<float> x(4);
  while (!step.done()) {
    index_t asked_for = 0;
    step.advance(x.data(), [&](std::span<const query> asked, std::vector<answer>& answers) {
      for (const query& q : asked) {
        answers.push_back({1 + q.scale * static_cast<double>(++asked_for % 7)});
      }
    });
    if (line.steps == 0 && out.evaluations + asked_for > line.forwards) {
      break;
    }
    ++out.steps;
    out.evaluations += asked_for;
  }
  require(out.steps > 0, "forwards: ", line.forwards, " are too few for one step");
  return out;
}

/// Losses of a batch that the choice of an epsilon takes.
inline index_t losses_of_choice() {
  const auto flat = [](std::span<const query> asked) { return std::vector<double>(asked.size()); };
  return choose_epsilon(flat).losses;
}

/// Rows of data that go through the model in a run: what its time grows with.
inline index_t work_of(const plan_line& line, const run_length& length) {
  if (line.kind != "tune") {
    return 1;
  }
  const index_t shown = line.eval_every > 0 && length.steps > 0
                            ? static_cast<index_t>(length.steps - 1) / line.eval_every + 2
                            : 0;
  const index_t choosing = length.steps > 0 && !line.epsilon.has_value() ? losses_of_choice() : 0;
  return (length.evaluations + choosing) * line.batch_size + shown * line.eval_rows +
         line.test_rows * (line.test_best ? 2 : 1);
}

class runner {
 public:
  /// `tell(rows done of this run, detail)` is called now and then; it may throw `cut`.
  using teller = std::function<void(index_t, const std::string&)>;

  runner(sources& from, teller tell) : from_(from), tell_(std::move(tell)) {}

  nlohmann::json operator()(const plan_line& line) {
    std::ofstream("/proc/self/clear_refs") << 5;  // the peak of memory begins again: proc(5)
    try {
      return line.kind == "mask"     ? kept_by_mask(from_, line)
             : line.kind == "slopes" ? slopes_beside(from_, line)
                                     : tuned(line);
    } catch (const error& e) {
      return {{"refused", e.what()}};
    } catch (const CLI::Error& e) {
      return {{"refused", e.what()}};
    }
  }

 private:
  nlohmann::json tuned(const plan_line& line) {
    policies p(line);
    const run_length length = length_of(line);
    const studied_model& m = from_.model(line);
    const task& rows = from_.rows(line);
    const auto& o = from_.options();
    const cpu exec({o.threads, cli::kernels_named(o.kernels),
                    cli::products_named(line.compute, o.kernels, asks_for_pairs(p.estimator))});

    auto start = std::chrono::steady_clock::now();
    view_target target = target_of(m.model);
    target.selection = select(line.layers, line.exclude);
    if (!line.prompt_text.empty()) {
      target.tokens = m.words.encode(line.prompt_text, special::plain);
    }
    mask places;
    if (!line.mask.empty()) {
      places = from_.places(line);
      target.places = &places;
    }
    const double mask_seconds = cli::seconds_since(start);
    const zoq::tuned_values start_values = from_.start_of(line);
    auto view = start_values.blocks.empty()
                    ? laid_out_view<cpu, any_layout<cpu>>(exec, layout_of(exec, p.view, target))
                    : view_of(exec, target, start_values);
    require(view.order().size > 0, "nothing is tuned: the mask has no places");
    require(line.mask.empty() || view.layout().places(exec).count() > 0, "the view ", line.view,
            " takes no mask");

    trainer tuner(exec, m.model, view, rows.train.objective, p.estimator, p.optimizer);
    const train_options how{.steps = length.steps,
                            .batch_size = line.batch_size,
                            .stratified = line.row_order == "stratified",
                            .seed = line.seed,
                            .direction = p.direction,
                            .schedule = p.schedule,
                            .stacked_branches = branches_for(view.order().size),
                            .clip = line.clip,
                            .clip_norm = line.clip_norm};
    const std::span<const example> train = train_rows(line, rows);
    require(!rows.train.objective.refers(),
            "objectives that refer to the untuned model have no study");
    tuner.start(train, how);
    double seconds = 0;
    nlohmann::json out = {{"k", view.order().size}, {"mask_seconds", mask_seconds}};
    if (target.places != nullptr) {
      out["mask"] = places.hash();
    }
    if (length.steps > 0) {
      if (line.epsilon.has_value()) {
        set_epsilon(tuner, *line.epsilon, out);
      } else {
        start = std::chrono::steady_clock::now();
        const epsilon_choice choice = tuner.measure_epsilon(epsilon_options_for(view.order().size));
        seconds += cli::seconds_since(start);
        set_epsilon(tuner, choice.epsilon, out);
        out["epsilon_error"] = choice.relative_error;
      }
      tuner.start(train, how);
    }
    take_steps(line, exec, tuner, view, rows, seconds, out);
    out["kernels"] = cli::variant_of(exec);
    out["threads"] = exec.threads();
    out["compute"] = name_of(exec.products());
    return out;
  }

  template <class Trainer>
  static void set_epsilon(Trainer& tuner, double epsilon, nlohmann::json& out) {
    tuner.estimator_settings().visit([&](auto& one) { one.epsilon = epsilon; });
    out["epsilon"] = epsilon;
  }

  template <class Trainer, class View>
  void take_steps(const plan_line& line, const cpu& exec, Trainer& tuner, View& view,
                  const task& rows, double seconds, nlohmann::json& out) {
    const auto shown = cli::first_rows(rows.valid.rows, line.eval_every > 0 ? line.eval_rows : 0);
    index_t evaluated = 0;  // rows that were measured
    nlohmann::json& curve = out["curve"] = nlohmann::json::array();
    double best = std::numeric_limits<double>::infinity();
    std::uint64_t best_step = 0;
    std::vector<float> best_values;
    auto& steps = tuner.steps();
    const auto tell = [&](index_t measuring) {
      tell_(tuner.cost().evaluations * line.batch_size + evaluated + measuring,
            text(line.title(), " seed ", line.seed, ": step ", steps.next()));
    };
    const auto measured = [&](std::span<const example> of) {
      const evaluation e = tuner.measure(of, [&](const evaluation& so_far) {
        tell(so_far.rows);
        return true;
      });
      evaluated += e.rows;
      return e;
    };
    // A point of the curve; true when the run has reached what it was asked for.
    const auto point = [&] {
      const std::pair<double, double> at =
          steps.next() > 0 ? figures(measured(shown))
                           : at_start(line, view, shown, [&] { return figures(measured(shown)); });
      curve.push_back(
          {tuner.cost().evaluations, tuner.cost().tokens, seconds, at.first, at.second});
      if (at.first < best) {
        best = at.first;
        best_step = steps.next();
        if (line.test_best) {
          best_values = view.to_host();
        }
      }
      return at.first < line.stop_below;
    };
    try {
      bool reached = !shown.empty() && !steps.done() && point();
      while (!reached && !steps.done()) {
        tell(0);
        const auto start = std::chrono::steady_clock::now();
        tuner.advance();
        seconds += cli::seconds_since(start);
        const bool due =
            static_cast<index_t>(steps.next()) % std::max<index_t>(1, line.eval_every) == 0;
        reached = !shown.empty() && (due || steps.done()) && point();
      }
      if (line.test_rows > 0) {
        const std::vector<example> tested = test_rows(line, rows, from_.model(line).words);
        out["test"] = figures(measured(tested));
        if (line.test_best && !curve.empty()) {
          out["best_step"] = best_step;
          out["best_valid"] = best;
          out["test_best"] = out["test"];
          if (best_step != steps.next()) {
            exec.upload(best_values.data(), view.order().size, view.values().data);
            out["test_best"] = figures(measured(tested));
          }
        }
      }
    } catch (const error& e) {
      if (steps.next() == 0) {
        throw;  // nothing was tuned: the line makes no sense
      }
      out["diverged"] = steps.next();
      out["why"] = e.what();
    }
    const train_cost& cost = tuner.cost();
    out["steps"] = steps.next();
    out["forwards"] = cost.evaluations;
    out["forward_tokens"] = cost.tokens;
    out["seconds"] = seconds;
    out["forward_seconds"] = cost.seconds;
    out["view_bytes"] = view.byte_count();
    out["peak_rss_bytes"] = cli::peak_rss_bytes();
  }

  // Loss and accuracy; the rows of an objective that chooses nothing have accuracy 0.
  static std::pair<double, double> figures(const evaluation& e) {
    return {e.branch[0].mean(), e.accuracy()};
  }

  static std::span<const example> train_rows(const plan_line& line, const task& rows) {
    return line.train_rows > 0 ? cli::first_rows(rows.train.rows, line.train_rows)
                               : std::span<const example>(rows.train.rows);
  }
  static std::vector<example> test_rows(const plan_line& line, const task& rows,
                                        const tokenizer& words) {
    const auto some = cli::first_rows(rows.test.rows, line.test_rows);
    return line.shots > 0 ? with_shots(some, train_rows(line, rows), line.shots, line.seed, words)
                          : std::vector<example>(some.begin(), some.end());
  }

  // What was measured before the first step: once for all runs that begin alike. Values that are all zero
  // leave the model as it is.
  std::pair<double, double> at_start(const plan_line& line, const auto& view,
                                     std::span<const example> shown, const auto& measure) {
    const std::vector<float> values = view.to_host();
    const bool changed = std::any_of(values.begin(), values.end(), [](float v) { return v != 0; });
    const std::string key =
        text(from_.model(line).hash, " ", line.task, " ", line.objective, " ", line.compute, " ",
             shown.size(), " ", changed ? json_of(line).dump() : std::string());
    const auto found = starts_.find(key);
    return found != starts_.end() ? found->second : starts_.emplace(key, measure()).first->second;
  }

  sources& from_;
  teller tell_;
  std::map<std::string, std::pair<double, double>> starts_;  // measured before the first step
};

}  // namespace zoq::study
