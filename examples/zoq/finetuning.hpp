// A run of `zoq finetune` on an executor: from options to the folder of a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <zoq/io/mask_file.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/train/trainer.hpp>
#include <zoq/train/trajectory.hpp>
#include <zoq/view/values_file.hpp>

#include "describe_run.hpp"
#include "finetune_options.hpp"
#include "interrupt.hpp"
#include "measure_rows.hpp"
#include "run_folder.hpp"
#include "run_report.hpp"
#include "settings.hpp"
#include "together.hpp"
#include "tuning_start.hpp"
#include "tuning_steps.hpp"

namespace zoq::cli {

/// Which variant of its kernels an executor runs: part of what a run's bits depend on.
template <class X>
std::string_view variant_of(const X& exec) {
  if constexpr (requires { exec.kernels(); }) {
    return name_of(exec.kernels());
  } else {
    return X::name;
  }
}

template <executor X>
class finetuning {
 public:
  finetuning(const X& exec, const finetune_options& options)
      : o_(options),
        m_(o_.common.model),
        exec_(exec),
        start_(o_, m_),
        train_(rows_of("train.jsonl")),
        valid_(o_.eval_every > 0 ? rows_of("valid.jsonl") : task_rows{}),
        test_(o_.eval_rows > 0 ? rows_of("test.jsonl") : task_rows{}),
        place_(o_.out),
        folder_(place_.path(), o_.resume  ? run_folder::start::resume
                               : o_.force ? run_folder::start::force
                                          : run_folder::start::fresh),
        // Text for people: on standard output, unless that is kept for JSON.
        measure_{o_, o_.common.json ? std::cerr : std::cout} {
    work_folder::share(folder_);
  }

  int run() {
    const auto start = std::chrono::steady_clock::now();
    if (!folder_.resumes()) {
      require_kept(o_.start_from);
      require_kept(o_.mask.score.empty() ? o_.mask_from : "");
    }
    m_.require_finite_weights(exec_);
    const std::string source = folder_ / "trajectory.jsonl";
    settings_ = describe_run(o_, m_, train_, name_of(exec_.products()), variant_of(exec_));
    if (folder_.resumes()) {
      earlier_ = read_trajectory(source);
    }
    // Measured below where it is not given, unless the run has measured it.
    const double epsilon =
        folder_.resumes() ? setting<double>(earlier_.settings, "epsilon", source) : 5e-3;
    set_epsilon(settings_, o_, o_.given_epsilon().value_or(epsilon));
    if (folder_.resumes()) {
      require_same_settings(settings_, earlier_.settings, source);
    }
    start_.find(folder_.resumes() ? folder_ / "mask.safetensors" : "");
    report_.mask_seconds = seconds_since(start);
    settings_["mask"] = start_.places().hash();
    require(!folder_.resumes() || setting<std::string>(earlier_.settings, "mask", source) ==
                                      settings_["mask"].get_ref<const std::string&>(),
            source, ": the run tunes other places than the mask; --force starts again");
    if (earlier_.settings.contains("first_values")) {
      settings_["first_values"] = earlier_.settings["first_values"];
      require_first_values(folder_ / "start.safetensors", settings_, source);
    }
    auto view = start_.view(exec_);
    require(view.order().size > 0,
            "nothing is tuned: the mask has no places (is the density too small?)");
    require_room(view.branches());
    trainer tuner(exec_, m_.model, view, train_.objective, estimator_from(settings_, source),
                  optimizer_from(settings_, source), team_of_run());
    const recipe steps = recipe_from(settings_, source);
    const train_options how{.steps = steps.steps,
                            .batch_size = o_.batch_size,
                            .stratified = o_.row_order == "stratified",
                            .seed = steps.seed,
                            .direction = steps.direction,
                            .schedule = steps.schedule,
                            .stacked_branches = branches_for(view.order().size),
                            .clip = steps.clip,
                            .clip_norm = steps.clip_norm};
    for (task_rows* task : {&train_, &valid_, &test_}) {
      tuner.set_references(task->rows);
    }
    tuner.start(train_.rows, how);
    announce(view.order().size);
    if (earlier_.settings.contains("noise")) {
      noise_ = setting<double>(earlier_.settings, "noise", source);
      require(noise_ >= 0, source, ":1: setting \"noise\" is ", noise_, ", wanted at least 0");
    }
    if (!folder_.resumes()) {
      measure_epsilon_on(tuner, view.order().size);
      tuner.start(train_.rows, how);
      folder_.clear();
      if (o_.needs_mask()) {
        write_mask(folder_ / "mask.safetensors", start_.places());
      }
      const zoq::tuned_values first = start_.now(exec_, view);
      const std::string hash = hash_of_values(first);
      settings_["first_values"] = hash;
      if (!hash.empty()) {
        write_values(folder_ / "start.safetensors", first);
      }
    }

    require_same_on_all(settings_);
    report_.before = measure_(tuner, test_, "before");
    const auto tuning = std::chrono::steady_clock::now();
    tuning_steps steps_left(exec_, tuner, view, {o_, folder_, start_, measure_, settings_, noise_});
    if (folder_.resumes()) {
      steps_left.go_on(earlier_.losses);
    }
    steps_left.take(earlier_.losses, valid_);
    report_.tuning_seconds = seconds_since(tuning);
    report_.best = steps_left.best();
    report_.signal_to_noise = steps_left.health().signal_to_noise();
    if (steps_left.health().diverged()) {
      report_.diverged_step = tuner.steps().next();
    }
    report_.after = measure_(tuner, test_, "after");
    report_.seconds = seconds_since(start);
    report(tuner, view);
    return report_.diverged_step.has_value() ? exit_diverged : 0;
  }

 private:
  task_rows rows_of(const char* file) {
    task_rows out = read_task(o_.data + "/" + file, m_, o_.common.mode(), o_.objective);
    require(train_.rows.empty() || out.objective.chosen() == train_.objective.chosen(), o_.data,
            "/", file, ": the rows are of another kind than those of train.jsonl");
    return out;
  }

  // What the folder's clearing would take away before the run has read all of it, or for good.
  void require_kept(const std::string& path) const {
    require(path.empty() || !folder_.holds(path), path,
            ": lies in the folder that --force begins anew; copy it first");
  }

  // A soft prompt lies before every row.
  void require_room(const branch_parts& parts) const {
    const index_t prompt = parts.prompt.has_value() ? parts.prompt->rows : 0;
    const index_t context = m_.model.config().context;
    for (const task_rows* task : {&train_, &valid_, &test_}) {
      for (const example& row : task->rows) {
        require(prompt + context_of(row) <= context, "--view ", o_.view, ": ", prompt,
                " rows and a row of ", context_of(row),
                " tokens are longer than the model's context of ", context);
      }
    }
  }

  void announce(index_t tuned) const {
    index_t all = 0;
    for (const model_tensor& t : m_.model.tensors()) {
      all += t.weight.rows() * t.weight.columns();
    }
    char share[32];
    std::snprintf(share, sizeof share, "%.3f",
                  100.0 * static_cast<double>(tuned) / static_cast<double>(all));
    measure_.people << "tuned: " << with_commas(tuned) << " values, the model has "
                    << with_commas(all) << " weights: " << share
                    << " %\nsettings: " << settings_.dump() << std::endl;
  }

  // Epsilon, where it is not given, and the rounding noise of a loss.
  template <class Trainer>
  void measure_epsilon_on(Trainer& tuner, index_t k) {
    const auto check = [] {
      interrupt::check("stopped while epsilon was chosen; nothing was written");
    };
    if (o_.given_epsilon().has_value()) {
      const train_cost before = tuner.cost();
      noise_ = tuner.measure_noise(epsilon_options_for(k), check);
      report_.noise_evaluations = tuner.cost().evaluations - before.evaluations;
      tuner.reset_cost(before);
    } else {
      const epsilon_choice choice = tuner.measure_epsilon(epsilon_options_for(k), check);
      noise_ = choice.noise;
      set_epsilon(settings_, o_, choice.epsilon);
      tuner.estimator_settings().visit([&](auto& e) { e.epsilon = choice.epsilon; });
      measure_.people << "epsilon: " << choice.epsilon << " (rounding noise of a loss "
                      << choice.noise << ", curvature bias " << choice.bias
                      << " e^2; predicted error of a slope " << percent(choice.relative_error)
                      << ")" << std::endl;
    }
    check();
  }

  template <class Trainer, class View>
  void report(const Trainer& tuner, const View& view) {
    report_.chooses = test_.objective.chooses();
    if (report_.before.has_value() && report_.chooses) {
      report_.majority = majority_share(measure_.of(test_));
    }
    report_.steps = o_.steps;
    report_.trainable = view.order().size;
    report_.epsilon = settings_["epsilon"];
    report_.cost = tuner.cost();
    report_.model_bytes = m_.model.byte_count();
    report_.activation_bytes = tuner.pass().byte_count();
    report_.value_bytes = view.byte_count();
    report_.folder = o_.out;
    report_.delta = folder_ / "delta.safetensors";
    print_for_people(measure_.people, report_);
    const nlohmann::json result = json_of(report_);
    if (o_.common.json) {
      print_json(result);
    }
    write_file_atomically(folder_ / "result.json", line_of(result));
  }

  const finetune_options& o_;
  opened_model m_;
  const X& exec_;
  tuning_start start_;
  task_rows train_, valid_, test_;
  work_folder place_;
  run_folder folder_;
  measured_rows measure_;
  trajectory earlier_;
  nlohmann::json settings_;
  double noise_ = 0;  // of a loss, by rounding
  run_report report_;
};

struct finetune_job {
  using result = int;
  const finetune_options& options;

  template <executor X>
  int operator()(const X& exec) const {
    return finetuning(exec, options).run();
  }
};

}  // namespace zoq::cli
