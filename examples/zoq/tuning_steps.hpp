// The steps of a run and its record: what is taken again when it goes on, what is written when.
//
//     tuning_steps steps(exec, tuner, view, {options, folder, start, measure, settings});
//     steps.go_on(earlier.losses);           // from the checkpoint, then by the recorded losses
//     steps.take(earlier.losses, valid);
//
// Lines of the trajectory are on the disk before a checkpoint counts them, and best.safetensors is
// before the line of metrics that speaks of it: whatever a crash leaves goes on to the same bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>
#include <zoq/train/checkpoint.hpp>
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
    steps.resume(from.steps, from.optimizer, from.estimator);
    while (steps.next() < recorded.size()) {
      tuner_.replay(recorded[steps.next()]);
    }
    run_.measure.people << "resumed after step " << steps.next() << " of " << run_.options.steps
                        << std::endl;
  }

  /// Takes the steps that are not taken yet; `recorded` are the losses of those that are. Throws
  /// `stopped`, after saving, when a signal comes.
  void take(std::span<const std::vector<answer>> recorded, const task_rows& valid) {
    const finetune_options& o = run_.options;
    auto& steps = tuner_.steps();
    run_metrics metrics(run_.folder / "metrics.jsonl", steps.next());
    trajectory_writer record(run_.folder / "trajectory.jsonl", run_.settings, recorded);
    save(record);
    const auto first = static_cast<index_t>(steps.next());
    progress bar("tuning", static_cast<index_t>(o.steps), first);
    double recent = 0;  // a running mean of losses, for the eye
    const auto validate_if_due = [&] {
      if (o.eval_every > 0 && steps.next() > metrics.validated() &&
          (steps.done() || static_cast<index_t>(steps.next()) % o.eval_every == 0)) {
        bar.erase();
        validate(valid, metrics);
      }
    };
    validate_if_due();
    while (!steps.done()) {
      if (interrupt::signal() != 0) {
        save(record);
        bar.finish();
        interrupt::check(text("stopped after step ", steps.next(), " of ", o.steps, "; saved in ",
                              o.out, ", --resume goes on"));
      }
      const auto start = std::chrono::steady_clock::now();
      const index_t tokens = tuner_.cost().tokens;
      const step_result r = tuner_.advance();
      record.append(r.step, r.answers);
      warn_if_flat(r, bar);
      const double spent = seconds_since(start);
      const double speed = static_cast<double>(tuner_.cost().tokens - tokens) / spent;
      metrics.add_step(r, rate_ * r.schedule, spent, speed);
      const auto done = static_cast<index_t>(steps.next());
      recent = done == first + 1 ? r.loss : 0.95 * recent + 0.05 * r.loss;
      char detail[80];
      std::snprintf(detail, sizeof detail, "loss %.3f  slope %+.2f  %.0f tokens/s", recent, r.slope,
                    speed);
      bar.show(done, detail);
      validate_if_due();
      if (done % o.checkpoint_every == 0) {
        save(record);
      }
    }
    save(record);
    bar.finish();
    best_ = metrics.best();
  }

  /// The best measurement on valid rows, after `take`.
  [[nodiscard]] const std::optional<valid_point>& best() const { return best_; }

 private:
  void save(const trajectory_writer& record) {
    record.flush();
    auto& steps = tuner_.steps();
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
    if (metrics.is_best(now)) {
      write_values(run_.folder / "best.safetensors", run_.start.now(exec_, view_),
                   {{"steps", text(step)}});
    }
    metrics.add_valid(now);
  }

  // An objective that counts answers does not feel a small probe: the estimate is then zero.
  void warn_if_flat(const step_result& r, progress& bar) {
    flat_ = r.flat ? flat_ + 1 : 0;
    if (flat_ == 10) {
      bar.erase();
      std::cerr
          << "zoq finetune: 10 steps in which no branch changed the loss: nothing is learned; a "
             "longer --epsilon, more rows a step, or another --objective may help"
          << std::endl;
    }
  }

  run_at_work run_;
  const X& exec_;
  Trainer& tuner_;
  View& view_;
  std::string name_;  // of the run, in its checkpoint
  double rate_;       // the optimizer's, 0 where it finds its own
  index_t flat_ = 0;  // steps that learned nothing, one after another
  std::optional<valid_point> best_;
};

}  // namespace zoq::cli
