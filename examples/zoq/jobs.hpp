// What the subcommands have an executor do. Each job is a type, so that the file for a device can
// compile it for that device: on_device.hpp. `result` is what a job returns.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <vector>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/llama_reverse.hpp>
#include <zoq/score/fisher.hpp>
#include <zoq/sparse/top_k.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/view/sparse.hpp>

#include "command.hpp"

namespace zoq::cli {

/// Losses and choices on rows, with tuned values.
struct eval_job {
  using result = evaluation;
  const opened_model& m;
  const delta& values;
  const any_objective& objective;
  std::span<const example* const> rows;
  const std::string& source;  // of the rows, for messages
  index_t batch_size;
  std::function<bool(const evaluation&)> tell;  // false ends the work

  template <executor X>
  result operator()(const X& exec) const {
    const auto view = sparse_view(exec, m.model.tensors(), values);
    auto pass = forward_of(exec, m.model);
    try {
      return evaluate(pass, view.branches(), objective, rows, {.batch_rows = batch_size}, tell);
    } catch (const error& e) {
      fail(source, ": ", e.what());
    }
  }
};

/// The logits after a text, and the text's loss.
struct score_job {
  struct result {
    std::vector<float> logits;   // [V] at the last position
    std::optional<double> loss;  // mean next-token; none for a single token
  };
  const opened_model& m;
  const std::vector<token_t>& tokens;

  template <executor X>
  result operator()(const X& exec) const {
    result out;
    auto pass = forward_of(exec, m.model);
    packing batch;
    const index_t text = batch.add(tokens);
    const auto count = static_cast<index_t>(tokens.size());
    batch.read(text, count - 1, 0);
    pass.logits(batch, {}, out.logits);
    if (count > 1) {
      batch.clear();
      const index_t again = batch.add(tokens);
      for (index_t i = 0; i + 1 < count; ++i) {
        batch.read(again, i, tokens[static_cast<std::size_t>(i) + 1]);
      }
      std::vector<double> scores(batch.reads.size());
      pass.score(batch, {}, scores);
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
  const delta& values;
  std::vector<token_t> prompt;
  index_t rows;  // of the whole sequence
  std::function<std::optional<token_t>(const std::vector<float>& logits)> choose;

  template <executor X>
  void operator()(const X& exec) const {
    const auto view = sparse_view(exec, m.model.tensors(), values);
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

/// The mask of the largest squared gradients on windows of text.
struct fisher_job {
  using result = mask;
  const opened_model& m;
  const std::vector<std::vector<token_t>>& windows;
  top_k_options best;
  std::function<void(index_t done, index_t all)> tell;

  template <executor X>
  result operator()(const X& exec) const {
    return top_k(fisher(exec, m.model, windows, tell), best);
  }
};

}  // namespace zoq::cli
