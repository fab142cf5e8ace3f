// The steps of a run and its record: what is taken again when it goes on, what is written when.
//
//     tuning_steps steps(exec, tuner, view, {options, folder, start, measure, settings, noise});
//     steps.go_on(earlier.losses);           // from the checkpoint, then by the recorded losses
//     steps.take(earlier.losses, valid);
//
// Lines of the trajectory are on the disk before a checkpoint counts them, and best.safetensors is
// before the line of metrics that speaks of it: whatever a crash leaves goes on to the same bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <zoq/core/settings.hpp>
#include <zoq/io/safetensors.hpp>
#include <zoq/train/checkpoint.hpp>
#include <zoq/train/health.hpp>
#include <zoq/train/record.hpp>
#include <zoq/train/step.hpp>
#include <zoq/view/values_file.hpp>

#include "finetune_options.hpp"
#include "interrupt.hpp"
#include "measure_rows.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "run_metrics.hpp"
#include "settings.hpp"
#include "together.hpp"
#include "tuning_start.hpp"

namespace zoq::cli {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What the steps belong to.
struct run_at_work {
  const finetune_options& options;
  const run_folder& folder;
  const tuning_start& start;
  measured_rows measure;
  nlohmann::json settings;  // the first line of the trajectory
  double noise;             // of a loss, by rounding
};

template <executor X, class Trainer, class View>
class tuning_steps {
 public:
  /// Keeps references. The trainer has been started.
  tuning_steps(const X& exec, Trainer& tuner, View& view, run_at_work of)
      : run_(std::move(of)),
        exec_(exec),
        tuner_(tuner),
        view_(view),
        name_(run_name(run_.settings)),
        rate_(rate_of(optimizer_from(run_.settings, run_.folder / "trajectory.jsonl"))) {}

  /// From the last checkpoint, and from there by the recorded losses: no finished step is repeated.
  /// Throws, naming the file, when these do not belong together.
  void go_on(std::span<const std::vector<answer>> recorded) {
    const std::string path = run_.folder / "checkpoint.safetensors";
    const checkpoint from = read_checkpoint(path, view_.order().size, name_);
    auto& steps = tuner_.steps();
    require(from.steps <= recorded.size(), path, ": holds ", from.steps,
            " steps, the trajectory only ", recorded.size());
    exec_.upload(from.values.data(), view_.order().size, view_.values().data);
    from_source(path, [&] { steps.resume(from.steps, from.optimizer, from.estimator); });
    from_source(run_.folder / "trajectory.jsonl", [&] {
      while (steps.next() < recorded.size()) {
        again_.push_back(figures_of_step(tuner_.replay(recorded[steps.next()])));
      }
    });
    run_.measure.people << "resumed after step " << steps.next() << " of " << run_.options.steps
                        << std::endl;
  }

  /// Takes the steps that are not taken yet; `recorded` are the losses of those that are. Ends early when
  /// the run has diverged. Throws `stopped`, after saving, when a signal comes.
  void take(std::span<const std::vector<answer>> recorded, const task_rows& valid) {
    const finetune_options& o = run_.options;
    auto& steps = tuner_.steps();
    run_metrics metrics(run_.folder / "metrics.jsonl", steps.next(), again_,
                        {.noise = run_.noise, .divergence = o.divergence});
    require_best(metrics);
    nlohmann::json first_line = run_.settings;
    first_line["noise"] = run_.noise;
    trajectory_writer record(run_.folder / "trajectory.jsonl", first_line, recorded);
    const auto save_all = [&] {
      record.flush();
      metrics.flush();
      save();
    };
    save_all();
    progress bar("tuning", static_cast<index_t>(o.steps), static_cast<index_t>(steps.next()));
    const auto validate_if_due = [&] {
      if (o.eval_every > 0 && steps.next() > metrics.validated() &&
          (steps.done() || metrics.health().diverged() ||
           static_cast<index_t>(steps.next()) % o.eval_every == 0)) {
        bar.erase();
        validate(valid, metrics);
      }
    };
    validate_if_due();
    while (!steps.done() && !metrics.health().diverged()) {
      if (interrupt::signal() != 0) {
        save_all();
        bar.finish();
        interrupt::check(text("stopped after step ", steps.next(), " of ", o.steps, "; saved in ",
                              o.out, ", --resume goes on"));
      }
      const step_figures now = one_step();
      record.append(now.result.step, now.result.answers);
      metrics.add(now);
      warn(now.result, metrics.health(), bar);
      char detail[80];
      std::snprintf(detail, sizeof detail, "loss %.3f  slope %+.2f  %.0f tokens/s",
                    metrics.health().loss(), now.result.slope, *now.tokens_per_second);
      bar.show(static_cast<index_t>(steps.next()), detail);
      validate_if_due();
      if (static_cast<index_t>(steps.next()) % o.checkpoint_every == 0) {
        save_all();
      }
    }
    save_all();
    bar.finish();
    best_ = metrics.best();
    health_ = metrics.health();
    if (health_.diverged()) {
      std::cerr << "zoq finetune: diverged: stopped after step " << steps.next() << " of "
                << o.steps << ", the running loss is " << health_.loss() << ", at the start it was "
                << health_.first_loss() << "; "
                << (best_.has_value()
                        ? text("best.safetensors has the values of step ", best_->step, "; ")
                        : "")
                << "a smaller --learning-rate or --clip may help, --divergence 0 goes on"
                << std::endl;
    }
  }

  /// The best measurement on valid rows, and how the run went; after `take`.
  [[nodiscard]] const std::optional<valid_point>& best() const { return best_; }
  [[nodiscard]] const run_health& health() const { return health_; }

 private:
  [[nodiscard]] step_figures figures_of_step(const step_result& r) const {
    return {r, rate_ * r.schedule, {}, {}};
  }

  // Throws, with what is saved, when the losses or the values are no numbers.
  step_figures one_step() {
    const auto start = std::chrono::steady_clock::now();
    const index_t tokens = tuner_.cost().tokens;
    try {
      step_figures out = figures_of_step(tuner_.advance());
      out.seconds = seconds_since(start);
      out.tokens_per_second = static_cast<double>(tuner_.cost().tokens - tokens) / *out.seconds;
      return out;
    } catch (const error& e) {
      fail(e.what(), "; ", run_.options.out, " holds the values after step ", saved_);
    }
  }

  // The values that did best are there: or, when a crash came between them and their line, later ones that are
  // measured again.
  void require_best(const run_metrics& metrics) const {
    if (!metrics.best().has_value() || !leads()) {
      return;
    }
    const std::string path = run_.folder / "best.safetensors";
    require(read_values(path).model_hash == run_.start.model_hash(), path, ": of another model");
    const std::string& found = safetensors_file::open(path).metadata("steps");
    std::uint64_t step = 0;
    require(zoq::detail::read_setting(found, step) &&
                (step == metrics.best()->step || step > metrics.validated()),
            path, ": the values of step ", found, ", metrics.jsonl says that those of step ",
            metrics.best()->step, " did best; --force starts again");
  }

  void save() {
    auto& steps = tuner_.steps();
    saved_ = steps.next();
    if (!leads()) {
      return;  // the first process has the run
    }
    write_values(run_.folder / "delta.safetensors", run_.start.now(exec_, view_),
                 {{"steps", text(steps.next())}});
    write_checkpoint(
        run_.folder / "checkpoint.safetensors",
        {steps.next(), view_.to_host(), steps.saved_optimizer(), name_, steps.saved_estimator()});
  }

  void validate(const task_rows& valid, run_metrics& metrics) {
    const std::uint64_t step = tuner_.steps().next();
    const auto e = run_.measure(tuner_, valid, text("valid ", step));
    valid_point now{step, e->branch[0].mean(), {}};
    if (valid.objective.chooses()) {
      now.accuracy = e->accuracy();
    }
    if (metrics.is_best(now) && leads()) {
      write_values(run_.folder / "best.safetensors", run_.start.now(exec_, view_),
                   {{"steps", text(step)}});
    }
    metrics.add(now);
  }

  // An objective that counts answers does not feel a small probe: the estimate is then zero. Other
  // estimates may be little but rounding.
  void warn(const step_result& r, const run_health& health, progress& bar) {
    flat_ = r.flat ? flat_ + 1 : 0;
    if (flat_ == 10) {
      bar.erase();
      std::cerr
          << "zoq finetune: 10 steps in which no branch changed the loss: nothing is learned; a "
             "longer --epsilon, more rows a step, or another --objective may help"
          << std::endl;
    }
    if (health.noisy() && !told_noisy_ && flat_ == 0) {
      told_noisy_ = true;
      bar.erase();
      std::cerr << "zoq finetune: step " << r.step + 1
                << ": the estimates are mostly rounding, signal to noise "
                << *health.signal_to_noise()
                << " over the last steps: a longer --epsilon, more rows a step, or --compute f32 "
                   "may help"
                << std::endl;
    }
  }

  run_at_work run_;
  const X& exec_;
  Trainer& tuner_;
  View& view_;
  std::string name_;                 // of the run, in its checkpoint
  double rate_;                      // the optimizer's, 0 where it finds its own
  std::vector<step_figures> again_;  // steps that were taken from their recorded losses
  std::uint64_t saved_ = 0;          // steps of the last checkpoint
  index_t flat_ = 0;                 // steps that learned nothing, one after another
  bool told_noisy_ = false;
  std::optional<valid_point> best_;
  run_health health_;
};

}  // namespace zoq::cli
