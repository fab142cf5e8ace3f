// The double forward pass of bench/model, which slopes are measured against, is itself held against
// the slow and simple model of reference_llama.hpp.
// SPDX-License-Identifier: Apache-2.0
#include "../../bench/model/llama_f64.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "executors.hpp"
#include "reference_llama.hpp"
#include "tiny_llama.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/sparse.hpp"

using zoq::index_t;
using zoq::packing;
using zoq::token_t;
using namespace zoq::test;

namespace {

// Both are double passes of a few layers and differ in the order of sums: some 1e-15 of logits of
// size 2.
constexpr double tolerance = 1e-12;

/// A place in every linear matrix of the model, and more in the larger ones.
zoq::mask some_places(const zoq::llama& model) {
  zoq::mask out;
  for (const zoq::model_tensor& t : model.tensors()) {
    if (t.role == zoq::tensor_role::linear) {
      out.tensors.push_back({t.name, t.weight.rows(), t.weight.columns(), {}});
      for (index_t i = 5; i < t.weight.rows() * t.weight.columns(); i += 397) {
        out.tensors.back().index.push_back(static_cast<std::int32_t>(i));
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("f64: logits and scores in every format equal the slow double model", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  std::vector<tiny_options> all = {{.tied = true}, {.config = small_config()}};
  for (const auto format : format_names()) {
    all.push_back({.format = format});
  }
  for (const tiny_options& options : all) {
    CAPTURE(options.format);
    const tiny_llama tiny(options);
    const zoq::llama model = tiny.model();
    const auto reference = in_double(tiny.config, tiny.decoded());
    // A prompt with two continuations, and a text after them: tiles of six rows and single ones.
    const std::vector<token_t> prompt = some_tokens(9, 1, tiny.config.vocabulary);
    const std::vector<std::vector<token_t>> texts = {some_tokens(3, 2, tiny.config.vocabulary),
                                                     some_tokens(2, 3, tiny.config.vocabulary)};
    const std::vector<token_t> other = some_tokens(5, 4, tiny.config.vocabulary);
    packing batch;
    std::vector<double> wanted, scores_wanted;
    const auto expect = [&](const std::vector<token_t>& tokens, token_t target) {
      const std::vector<double> last = reference.logits(tokens).back();
      wanted.insert(wanted.end(), last.begin(), last.end());
      scores_wanted.push_back(reference.log_likelihood(last, target));
    };
    const index_t above = batch.add(prompt);
    for (const auto& text : texts) {
      batch.read(batch.add(text, above), static_cast<index_t>(text.size()) - 1, 7);
      std::vector<token_t> whole = prompt;
      whole.insert(whole.end(), text.begin(), text.end());
      expect(whole, 7);
    }
    batch.read(batch.add(other), 4, 8);
    expect(other, 8);

    zoq::bench::llama_f64<X> exact(exec, model);
    std::vector<double> got, scores(3);
    exact.logits(batch, {}, got);
    CHECK(largest_difference(got, wanted) <= tolerance);
    exact.score(batch, {}, scores);
    CHECK(largest_difference(scores, scores_wanted) <= tolerance);
  }
}

TEST_CASE("f64: a view's values act as if they stood in the weights, in every branch") {
  const zoq::cpu exec;
  const tiny_llama tiny({.format = "q4_1"});
  const zoq::llama model = tiny.model();
  const zoq::mask places = some_places(model);
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  const std::vector<zoq::query> asked = {{.seed = 1, .scale = 0.2}, {.seed = 1, .scale = -0.2}};
  view.move_to(exec, zoq::gaussian{}, asked);
  const std::vector<token_t> tokens = some_tokens(11, 5, 96);
  packing batch;
  batch.read(batch.add(tokens), 10, 3);
  zoq::bench::llama_f64<zoq::cpu> exact(exec, model);
  std::vector<double> got;
  exact.logits(batch, view.branches(), got);

  std::vector<double> wanted;
  for (index_t b = 0; b < 2; ++b) {
    std::vector<std::vector<double>> weights;
    for (const auto& w : tiny.decoded()) {
      weights.emplace_back(w.begin(), w.end());
    }
    for (std::size_t t = 0; t < weights.size(); ++t) {
      if (const auto& part = view.branches().tensor[t].sparse) {
        for (index_t j = 0; j < part->row.shape[0]; ++j) {
          const index_t entry =
              part->row(j) * model.tensors()[t].weight.columns() + part->column(j);
          weights[t][at(entry)] += static_cast<double>(part->values(b, part->first + j));
        }
      }
    }
    const auto last = reference_llama<double>(tiny.config, weights).logits(tokens).back();
    wanted.insert(wanted.end(), last.begin(), last.end());
  }
  CHECK(largest_difference(got, wanted) <= tolerance);
  CHECK(std::fabs(wanted[0] - wanted[96]) > 1e-3);  // the branches do differ
}
