// What the subcommands have an executor do. Each job is a type, so that the file for a device can
// compile it for that device: on_device.hpp. `result` is what a job returns.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <zoq/core/settings.hpp>
#include <zoq/io/score_file.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/llama_reverse.hpp>
#include <zoq/model/target.hpp>
#include <zoq/score/saved.hpp>
#include <zoq/score/scores.hpp>
#include <zoq/score/task_samples.hpp>
#include <zoq/sparse/top_k.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/train/reference.hpp>
#include <zoq/view/values_file.hpp>

#include "choose_mask.hpp"
#include "command.hpp"

namespace zoq::cli {

/// Losses and choices on rows, with tuned values.
struct eval_job {
  using result = evaluation;
  const opened_model& m;
  const zoq::tuned_values& values;
  const any_objective& objective;
  std::span<example> rows;
  const std::string& source;  // of the rows, for messages
  index_t batch_size;
  std::function<bool(const evaluation&)> tell;  // false ends the work

  template <executor X>
  result operator()(const X& exec) const {
    auto view = view_of(exec, target_of(m.model), values);
    auto pass = forward_of(exec, m.model);
    std::vector<const example*> all;
    for (const example& row : rows) {
      all.push_back(&row);
    }
    m.require_finite_weights(exec);
    try {
      set_references(pass, objective, rows);
      return evaluate(pass, view.branches(), objective, all, {.batch_rows = batch_size}, tell);
    } catch (const error& e) {
      fail(source, ": ", e.what());
    }
  }
};

/// The logits after a text, and the text's loss, with tuned values.
struct score_job {
  struct result {
    std::vector<float> logits;   // [V] at the last position
    std::optional<double> loss;  // mean next-token; none for a single token
  };
  const opened_model& m;
  const zoq::tuned_values& values;
  const std::vector<token_t>& tokens;

  template <executor X>
  result operator()(const X& exec) const {
    result out;
    auto view = view_of(exec, target_of(m.model), values);
    auto pass = forward_of(exec, m.model);
    packing batch;
    const index_t text = batch.add(tokens);
    const auto count = static_cast<index_t>(tokens.size());
    batch.read(text, count - 1, 0);
    pass.logits(batch, view.branches(), out.logits);
    if (count > 1) {
      batch.clear();
      const index_t again = batch.add(tokens);
      for (index_t i = 0; i + 1 < count; ++i) {
        batch.read(again, i, tokens[static_cast<std::size_t>(i) + 1]);
      }
      std::vector<double> scores(batch.reads.size());
      pass.score(batch, view.branches(), scores);
      out.loss =
          -std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
    }
    return out;
  }
};

/// Goes on with a text, token by token, until `choose` gives none.
struct generate_job {
  using result = void;
  const opened_model& m;
  const zoq::tuned_values& values;
  std::vector<token_t> prompt;
  index_t rows;  // of the whole sequence
  std::function<std::optional<token_t>(const std::vector<float>& logits)> choose;

  template <executor X>
  void operator()(const X& exec) const {
    auto view = view_of(exec, target_of(m.model), values);
    auto pass = forward_of(exec, m.model);
    pass.start_sequence(rows);
    std::vector<token_t> next = prompt;
    std::vector<float> logits;
    for (;;) {
      pass.extend(next, view.branches(), logits);
      const std::optional<token_t> chosen = choose(logits);
      if (!chosen.has_value()) {
        return;
      }
      next.assign(1, *chosen);
    }
  }
};

/// The entries of highest score, of any score.
struct mask_job {
  using result = mask;
  const opened_model& m;
  const mask_options& how;
  mask_samples& samples;
  const zoq::tuned_values* at;  // null: the base
  std::function<void(index_t done, index_t all)> tell;
  safetensors_file::strings about = {};  // what the scores are made from

  template <executor X>
  result operator()(const X& exec) const {
    const auto tensors = m.model.tensors();
    const top_k_options best{how.density, scope_named(how.scope)};
    const std::string_view score = how.score;
    if (score == magnitude::name) {
      return chosen(magnitude(tensors), best);
    }
    if (score == magnitude_smallest::name) {
      return chosen(magnitude_smallest(tensors), best);
    }
    if (score == random_score::name) {
      return chosen(random_score(tensors, how.seed), best);
    }
    if (how.of_rows()) {
      if (samples.task.objective.refers()) {
        auto pass = forward_of(exec, m.model);
        set_references(pass, samples.task.objective, samples.task.rows);
      }
      return by_samples(exec, task_samples{samples.task.rows, samples.task.objective}, best);
    }
    return by_samples(exec, text_samples{samples.windows}, best);
  }

 private:
  struct no_settings {};

  // The best of the scores, which go to a file where one is wanted.
  template <class Scores>
  mask chosen(Scores scores, const top_k_options& best) const {
    if (how.save_scores.empty()) {
      return top_k(scores, best);
    }
    score_writer file(how.save_scores, scored_matrices(m.model.tensors()), about);
    mask out = top_k(saved(std::move(scores), file), best);
    file.commit();
    return out;
  }

  template <class Settings>
  Settings settings(Settings out = {}) const {
    set_settings(out, text("score ", how.score), how.settings);
    return out;
  }

  template <executor X, class Samples>
  mask by_samples(const X& exec, const Samples& from, const top_k_options& best) const {
    const std::string_view score = how.score;
    const auto tensors = m.model.tensors();
    if (score == hessian_trace<any_executor, int>::name) {
      return by_trace(exec, from, best);
    }
    if (score == forward_curvature<any_executor, int>::name) {
      auto pass = forward_of(exec, m.model);
      return chosen(forward_curvature(exec, tensors, loss_of(pass),
                                      settings(forward_curvature_options{.seed = how.seed}), tell),
                    best);
    }
    if (score == loss_sensitivity<any_executor, int, text_samples>::name) {
      settings(no_settings{});
      return chosen(loss_sensitivity(exec, m.model, from, tell), best);
    }
    auto options = settings(fisher_options{});
    std::optional<laid_out_view<X, any_layout<X>>> view;
    if (at != nullptr && !at->blocks.empty()) {
      view.emplace(view_of(exec, target_of(m.model), *at));
      options.at = view->branches();
    }
    const fisher squares(exec, m.model, from, tell, options);
    return score.starts_with("neuron") ? chosen(neuron(squares), best) : chosen(squares, best);
  }

  // Traces say how many entries each matrix gets; gradients, or sizes where the family has no reverse
  // pass, say which.
  template <executor X, class Samples>
  mask by_trace(const X& exec, const Samples& from, top_k_options best) const {
    const auto tensors = m.model.tensors();
    const auto options = settings(hessian_trace_options{.seed = how.seed});
    {
      auto pass = forward_of(exec, m.model);
      const hessian_trace traces(exec, tensors, loss_of(pass), options, tell);
      const auto k = static_cast<index_t>(
          best.density * static_cast<double>(linear_weights(tensors)) * (1 + 1e-12));
      best.counts = tensor_budget(traces.of_tensors(), k, options.power);
      best.per = scope::tensor;
    }
    return m.model.config().family == llama_family::name
               ? chosen(fisher(exec, m.model, from, tell), best)
               : chosen(magnitude(tensors), best);
  }

  // The mean loss of the samples as a function of what is added to the weights.
  template <class Pass>
  auto loss_of(Pass& pass) const {
    return [this, &pass](const branch_parts& parts) {
      std::vector<const example*> rows;
      for (const example& row : samples.task.rows) {
        rows.push_back(&row);
      }
      return evaluate(pass, parts, samples.task.objective, rows).branch[0].mean();
    };
  }
};

}  // namespace zoq::cli
