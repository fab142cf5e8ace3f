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
#include <zoq/io/score_file.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/score/choose_places.hpp>
#include <zoq/score/saved.hpp>
#include <zoq/score/task_samples.hpp>
#include <zoq/sparse/top_k.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/train/reference.hpp>
#include <zoq/train/score_samples.hpp>
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
  std::string delta;                            // the file of the values, for messages

  template <executor X>
  result operator()(const X& exec) const {
    auto view = from_source(delta, [&] { return view_of(exec, target_of(m.model), values); });
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
  std::string delta;  // the file of the values, for messages

  template <executor X>
  result operator()(const X& exec) const {
    result out;
    auto view = from_source(delta, [&] { return view_of(exec, target_of(m.model), values); });
    auto pass = forward_of(exec, m.model);
    packing batch;
    const index_t text = batch.add(tokens);
    const auto count = static_cast<index_t>(tokens.size());
    batch.read(text, count - 1, 0);
    pass.logits(batch, view.branches(), out.logits);
    m.check_logits(exec, out.logits);
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
  std::string delta;  // the file of the values, for messages

  template <executor X>
  void operator()(const X& exec) const {
    auto view = from_source(delta, [&] { return view_of(exec, target_of(m.model), values); });
    auto pass = forward_of(exec, m.model);
    pass.start_sequence(rows);
    std::vector<token_t> next = prompt;
    std::vector<float> logits;
    for (;;) {
      pass.extend(next, view.branches(), logits);
      m.check_logits(exec, logits);
      const std::optional<token_t> chosen = choose(logits);
      if (!chosen.has_value()) {
        return;
      }
      next.assign(1, *chosen);
    }
  }
};

/// The entries of highest score, of any score; and a file of all scores where one is wanted.
struct mask_job {
  using result = mask;
  const opened_model& m;
  const mask_options& how;
  score_samples& samples;
  const zoq::tuned_values* at;  // null: the base
  score_progress tell;
  safetensors_file::strings about = {};  // what the scores are made from

  template <executor X>
  result operator()(const X& exec) const {
    score_choice choice{
        how.score, how.settings, {how.density, scope_named(how.scope)}, how.seed, {}};
    std::optional<laid_out_view<X, any_layout<X>>> view;
    if (at != nullptr && !at->blocks.empty()) {
      view.emplace(view_of(exec, target_of(m.model), *at));
      choice.at = view->branches();
    }
    const auto best = [&](auto scores, const top_k_options& options) {
      if (how.save_scores.empty()) {
        return top_k(scores, options);
      }
      score_writer file(how.save_scores, scored_matrices(m.model.tensors()), about);
      mask out = top_k(saved(std::move(scores), file), options);
      file.commit();
      return out;
    };
    if (samples.rows.empty()) {
      return choose_places(m.model, choice, best);
    }
    samples.set_references(exec, m.model);
    const auto loss = [&](auto& pass, const branch_parts& added) {
      return samples.loss(pass, added);
    };
    const auto chosen = [&](const auto& seen) {
      return choose_places(exec, m.model, choice, seen, loss, tell, best);
    };
    return samples.windows.empty() ? chosen(task_samples{samples.rows, samples.objective})
                                   : chosen(text_samples{samples.windows});
  }
};

}  // namespace zoq::cli
