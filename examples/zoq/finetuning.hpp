// A run of `zoq finetune` on an executor: from options to the folder of a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cmath>
#include <iostream>
#include <sstream>
#include <zoq/io/mask_file.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/train/checkpoint.hpp>
#include <zoq/train/record.hpp>
#include <zoq/train/trainer.hpp>

#include "finetune_options.hpp"
#include "interrupt.hpp"
#include "progress.hpp"
#include "run_folder.hpp"
#include "settings.hpp"
#include "tuning_start.hpp"

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

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Which rows are measured: the first `most` of a file.
inline std::span<const example> first_rows(const std::vector<example>& rows, index_t most) {
  const auto n = std::min(rows.size(), static_cast<std::size_t>(most));
  return {rows.data(), n};
}

/// Probes are shorter where more values move: what matters is how far the model moves.
inline epsilon_options epsilon_options_for(index_t k) {
  epsilon_options out;
  const double shorter =
      std::fmin(1.0, std::sqrt(static_cast<double>(1 << 20) / static_cast<double>(k)));
  for (double* length : {&out.near, &out.far, &out.smallest, &out.largest}) {
    *length *= shorter;
  }
  return out;
}

/// As many branches in one pass as are worth their memory: values of each exist at the same time.
constexpr index_t branches_for(index_t k) { return k > (index_t{1} << 25) ? 2 : 8; }

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
        folder_(o_.out, o_.resume  ? run_folder::start::resume
                        : o_.force ? run_folder::start::force
                                   : run_folder::start::fresh) {}

  int run() {
    const auto start = std::chrono::steady_clock::now();
    const std::string source = folder_ / "trajectory.jsonl";
    settings_ = describe();
    if (folder_.resumes()) {
      earlier_ = read_trajectory(source);
    }
    // Measured below where it is not given, unless the run has measured it.
    set_epsilon(o_.given_epsilon().value_or(earlier_.settings.value("epsilon", 5e-3)));
    if (folder_.resumes()) {
      require_same_settings(source);
    }
    start_.find(folder_.resumes() ? folder_ / "mask.safetensors" : "");
    const double mask_seconds = seconds_since(start);
    settings_["mask"] = start_.places().hash();
    require(!folder_.resumes() || earlier_.settings.value("mask", "") == settings_["mask"], source,
            ": the run tunes other places than the mask; --force starts again");
    auto view = start_.view(exec_);
    require(view.order().size > 0,
            "nothing is tuned: the mask has no places (is the density too small?)");
    trainer tuner(exec_, m_.model, view, train_.objective, estimator_from(settings_, source),
                  optimizer_from(settings_, source));
    const recipe steps = recipe_from(settings_, source);
    const train_options how{.steps = steps.steps,
                            .batch_size = o_.batch_size,
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
    if (!folder_.resumes()) {
      if (!o_.given_epsilon().has_value()) {
        choose_epsilon_on(tuner, view.order().size);
        tuner.start(train_.rows, how);
      }
      folder_.clear();
      if (o_.needs_mask()) {
        write_mask(folder_ / "mask.safetensors", start_.places());
      }
      const std::vector<float> first = view.to_host();
      if (std::any_of(first.begin(), first.end(), [](float v) { return v != 0; })) {
        write_values(folder_ / "start.safetensors", start_.now(exec_, view));
      }
    }
    run_ = run_name(settings_);
    rate_ = rate_of(optimizer_from(settings_, source));

    const auto before = measured(tuner, test_, "before");
    const auto tuning = std::chrono::steady_clock::now();
    steps_left(tuner, view);
    const double tuning_seconds = seconds_since(tuning);
    const auto after = measured(tuner, test_, "after");
    report(tuner, view, before, after, {mask_seconds, tuning_seconds, seconds_since(start)});
    return 0;
  }

 private:
  struct durations {
    double mask, tuning, all;
  };

  // Text for people: on standard output, unless that is kept for JSON.
  [[nodiscard]] std::ostream& people() const { return o_.common.json ? std::cerr : std::cout; }

  task_rows rows_of(const char* file) {
    task_rows out = read_task(o_.data + "/" + file, m_, o_.common.mode(), o_.objective);
    require(train_.rows.empty() || out.objective.chosen() == train_.objective.chosen(), o_.data,
            "/", file, ": the rows are of another kind than those of train.jsonl");
    return out;
  }

  void set_epsilon(double epsilon) {
    any_estimator::list e = o_.named_estimator();
    std::visit([&](auto& one) { one.epsilon = epsilon; }, e);
    settings_["epsilon"] = epsilon;
    settings_["estimator"] = policy_text(e);
  }

  // All that the values after a number of steps depend on, but for what is found by work: the mask
  // and the epsilon.
  nlohmann::json describe() {
    const auto file_hash = [](const std::string& path) {
      return path.empty() ? std::string() : content_hash().add(mapped_file(path).bytes()).hex();
    };
    return {{"zoq", "trajectory.1"},
            {"model", m_.model.hash()},
            {"view", policy_text(o_.named_view())},
            {"layers", o_.layers},
            {"exclude", o_.exclude},
            {"prompt_text", o_.prompt_text},
            {"mask_from",
             o_.mask.score.empty() ? nlohmann::json(file_hash(o_.mask_from)) : o_.mask.describe()},
            {"start", file_hash(o_.start_from)},
            {"rows", hash_of(train_.rows)},
            {"special_tokens", o_.common.special_tokens},
            {"objective", train_.objective.visit([](const auto& one) { return policy_text(one); })},
            {"score_choices", o_.objective.choice_score},
            {"estimator", policy_text(o_.named_estimator())},
            {"epsilon_from", o_.given_epsilon().has_value() ? "given" : "auto"},
            {"direction", policy_text(o_.named_direction())},
            {"optimizer", policy_text(o_.named_optimizer())},
            {"schedule", policy_text(o_.named_schedule())},
            {"clip", o_.clip},
            {"clip_norm", o_.clip_norm},
            {"steps", o_.steps},
            {"batch_size", o_.batch_size},
            {"seed", o_.seed},
            {"compute", name_of(exec_.products())},
            {"kernels", variant_of(exec_)}};
  }

  void require_same_settings(const std::string& source) const {
    std::string other;
    for (const auto& [key, value] : settings_.items()) {
      const auto found = earlier_.settings.find(key);
      if (found == earlier_.settings.end() || *found != value) {
        other += text(other.empty() ? "" : "; ", key, " ",
                      found == earlier_.settings.end() ? "missing" : found->dump(), ", asked ",
                      value.dump());
      }
    }
    require(other.empty(), source, ": the run has other settings than the command (", other,
            "); --force starts again");
  }

  void announce(index_t tuned) const {
    index_t all = 0;
    for (const model_tensor& t : m_.model.tensors()) {
      all += t.weight.rows() * t.weight.columns();
    }
    char share[32];
    std::snprintf(share, sizeof share, "%.3f",
                  100.0 * static_cast<double>(tuned) / static_cast<double>(all));
    people() << "tuned: " << with_commas(tuned) << " values, the model has " << with_commas(all)
             << " weights: " << share << " %\nsettings: " << settings_.dump() << std::endl;
  }

  template <class Trainer>
  void choose_epsilon_on(Trainer& tuner, index_t k) {
    const epsilon_choice choice = tuner.measure_epsilon(epsilon_options_for(k));
    interrupt::check("stopped while epsilon was chosen; nothing was written");
    set_epsilon(choice.epsilon);
    tuner.estimator_settings().visit([&](auto& e) { e.epsilon = choice.epsilon; });
    people() << "epsilon: " << choice.epsilon << " (rounding noise of a loss " << choice.noise
             << ", curvature bias " << choice.bias << " e^2; predicted error of a slope "
             << percent(choice.relative_error) << ")" << std::endl;
  }

  template <class Trainer>
  std::optional<evaluation> measured(Trainer& tuner, const task_rows& task, const char* what) {
    if (task.rows.empty()) {
      return {};
    }
    const auto rows =
        first_rows(task.rows, o_.eval_rows > 0 ? o_.eval_rows : static_cast<index_t>(1) << 60);
    progress bar(what, static_cast<index_t>(rows.size()));
    evaluation e = tuner.measure(rows, [&](const evaluation& so_far) {
      bar.show(so_far.rows, figures_of(so_far));
      return interrupt::signal() == 0;
    });
    bar.finish();
    interrupt::check("stopped; --resume goes on");
    std::ostringstream line;
    line << what << ": loss " << e.branch[0].mean();
    if (task.objective.chooses()) {
      line << ", accuracy " << percent(e.accuracy())
           << " (the most frequent answer: " << percent(majority_share(rows)) << ")";
    }
    people() << line.str() << std::endl;
    return e;
  }

  // Takes the steps that are not taken yet, and keeps the record.
  template <class Trainer, class View>
  void steps_left(Trainer& tuner, View& view) {
    std::vector<nlohmann::json> metrics;
    if (folder_.resumes()) {
      catch_up(tuner, view, metrics);
    }
    trajectory_writer record(folder_ / "trajectory.jsonl", settings_, earlier_.losses);
    write_lines(folder_ / "metrics.jsonl", metrics);
    line_file figures(folder_ / "metrics.jsonl");
    auto& steps = tuner.steps();
    save(tuner, view);
    const auto all = static_cast<index_t>(o_.steps);
    const auto first = static_cast<index_t>(steps.next());
    progress bar("tuning", all, first);
    double recent = 0;  // a running mean of losses, for the eye
    const auto valid_is_due = [&] {
      return o_.eval_every > 0 && steps.next() > validated_ &&
             (steps.done() || static_cast<index_t>(steps.next()) % o_.eval_every == 0);
    };
    if (steps.next() > 0 && valid_is_due()) {
      bar.erase();
      validate(tuner, view, figures);
    }
    while (!steps.done()) {
      if (interrupt::signal() != 0) {
        record.flush();
        save(tuner, view);
        bar.finish();
        interrupt::check(text("stopped after step ", steps.next(), " of ", o_.steps, "; saved in ",
                              o_.out, ", --resume goes on"));
      }
      const auto start = std::chrono::steady_clock::now();
      const index_t tokens = tuner.cost().tokens;
      const step_result r = tuner.advance();
      record.append(r.step, r.answers);
      warn_if_flat(r, bar);
      const double spent = seconds_since(start);
      const double speed = static_cast<double>(tuner.cost().tokens - tokens) / spent;
      figures.append({{"step", r.step + 1},
                      {"loss", r.loss},
                      {"slope", r.slope},
                      {"rate", rate_ * r.schedule},
                      {"seconds", spent},
                      {"tokens_per_second", speed}});
      const auto done = static_cast<index_t>(steps.next());
      recent = done == first + 1 ? r.loss : 0.95 * recent + 0.05 * r.loss;
      char detail[80];
      std::snprintf(detail, sizeof detail, "loss %.3f  slope %+.2f  %.0f tokens/s", recent, r.slope,
                    speed);
      bar.show(done, detail);
      if (valid_is_due()) {
        bar.erase();
        validate(tuner, view, figures);
      }
      if (done % o_.checkpoint_every == 0) {
        record.flush();
        save(tuner, view);
      }
    }
    record.flush();
    save(tuner, view);
    bar.finish();
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

  // From the last checkpoint, and from there by the recorded losses: no finished step is repeated.
  template <class Trainer, class View>
  void catch_up(Trainer& tuner, View& view, std::vector<nlohmann::json>& metrics) {
    const std::string path = folder_ / "checkpoint.safetensors";
    const checkpoint from = read_checkpoint(path, view.order().size, run_);
    auto& steps = tuner.steps();
    require(from.steps <= earlier_.losses.size(), path, ": holds ", from.steps,
            " steps, the trajectory only ", earlier_.losses.size());
    exec_.upload(from.values.data(), view.order().size, view.values().data);
    steps.resume(from.steps, from.optimizer, from.estimator);
    while (steps.next() < earlier_.losses.size()) {
      tuner.replay(earlier_.losses[steps.next()]);
    }
    // Figures of steps that the trajectory holds; the best so far is among them.
    for (nlohmann::json& line : read_lines(folder_ / "metrics.jsonl")) {
      const bool valid = line.contains("valid_loss");
      const auto step = line.value("step", ~std::uint64_t{0});
      if (step > steps.next()) {
        continue;
      }
      if (valid) {
        note(step, line.value("valid_loss", 0.0), line.value("valid_accuracy", nlohmann::json()));
      }
      metrics.push_back(std::move(line));
    }
    people() << "resumed after step " << steps.next() << " of " << o_.steps << std::endl;
  }

  // Remembers a measurement on valid rows; true when it is the best so far.
  bool note(std::uint64_t step, double loss, const nlohmann::json& accuracy) {
    validated_ = step;
    const double right = accuracy.is_number() ? accuracy.get<double>() : 0.0;
    const bool better = !best_.has_value() || right > best_->accuracy ||
                        (right == best_->accuracy && loss < best_->loss);
    if (better) {
      best_ = {step, right, loss};
    }
    return better;
  }

  template <class Trainer, class View>
  void validate(Trainer& tuner, const View& view, line_file& figures) {
    const std::uint64_t step = tuner.steps().next();
    const auto e = measured(tuner, valid_, text("valid ", step).c_str());
    nlohmann::json line = {{"step", step}, {"valid_loss", e->branch[0].mean()}};
    line["valid_accuracy"] =
        valid_.objective.chooses() ? nlohmann::json(e->accuracy()) : nlohmann::json();
    if (note(step, e->branch[0].mean(), line["valid_accuracy"])) {
      write_values(folder_ / "best.safetensors", start_.now(exec_, view), {{"steps", text(step)}});
    }
    figures.append(line);
  }

  template <class Trainer, class View>
  void save(Trainer& tuner, const View& view) {
    auto& steps = tuner.steps();
    write_values(folder_ / "delta.safetensors", start_.now(exec_, view),
                 {{"steps", text(steps.next())}});
    write_checkpoint(
        folder_ / "checkpoint.safetensors",
        {steps.next(), view.to_host(), steps.saved_optimizer(), run_, steps.saved_estimator()});
  }

  template <class Trainer, class View>
  void report(const Trainer& tuner, const View& view, const std::optional<evaluation>& before,
              const std::optional<evaluation>& after, const durations& took) {
    const train_cost& cost = tuner.cost();
    const double speed = cost.seconds > 0 ? static_cast<double>(cost.tokens) / cost.seconds : 0.0;
    people() << "memory: model file " << in_megabytes(m_.model.byte_count())
             << " (mapped), activations " << in_megabytes(tuner.pass().byte_count())
             << ", tuned values " << in_megabytes(view.byte_count()) << "; peak of the process "
             << in_megabytes(peak_rss_bytes()) << "\ntime: " << static_cast<index_t>(took.tuning)
             << " s of tuning at " << static_cast<index_t>(speed) << " tokens/s, "
             << static_cast<index_t>(took.all) << " s in all\nsaved in " << o_.out << std::endl;
    if (!o_.common.json) {
      return;
    }
    const bool chooses = test_.objective.chooses();
    const auto accuracy = [&](const std::optional<evaluation>& e) {
      return e.has_value() && chooses ? nlohmann::json(e->accuracy()) : nlohmann::json();
    };
    const auto loss = [&](const std::optional<evaluation>& e) {
      return e.has_value() ? nlohmann::json(e->branch[0].mean()) : nlohmann::json();
    };
    print_json(
        {{"accuracy_before", accuracy(before)},
         {"accuracy_after", accuracy(after)},
         {"loss_before", loss(before)},
         {"loss_after", loss(after)},
         {"majority", before.has_value() && chooses
                          ? nlohmann::json(majority_share(first_rows(test_.rows, o_.eval_rows)))
                          : nlohmann::json()},
         {"best_valid_accuracy", best_.has_value() && train_.objective.chooses()
                                     ? nlohmann::json(best_->accuracy)
                                     : nlohmann::json()},
         {"best_valid_step", best_.has_value() ? nlohmann::json(best_->step) : nlohmann::json()},
         {"steps", o_.steps},
         {"trainable", view.order().size},
         {"epsilon", settings_["epsilon"]},
         {"seconds", took.all},
         {"mask_seconds", took.mask},
         {"tuning_seconds", took.tuning},
         {"evaluations", cost.evaluations},
         {"forward_tokens", cost.tokens},
         {"tokens_per_second", speed},
         {"peak_rss_bytes", peak_rss_bytes()},
         {"delta", folder_ / "delta.safetensors"}});
  }

  struct best_point {
    std::uint64_t step;
    double accuracy, loss;
  };

  const finetune_options& o_;
  opened_model m_;
  const X& exec_;
  tuning_start start_;
  task_rows train_, valid_, test_;
  run_folder folder_;
  trajectory earlier_;
  nlohmann::json settings_;
  double rate_ = 0;   // the optimizer's, 0 where it finds its own
  index_t flat_ = 0;  // steps that learned nothing, one after another
  std::string run_;
  std::optional<best_point> best_;
  std::uint64_t validated_ = 0;  // the step of the last measurement on valid rows
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
