// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/forward_curvature.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "score/moved_losses.hpp"
#include "score/reference_gradients.hpp"
#include "zoq/model/decoder_forward.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/score/hessian_trace.hpp"

using zoq::branch_parts;
using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

double flat(std::size_t, index_t) { return 0; }

}  // namespace

TEST_CASE_TEMPLATE("forward_curvature: a planted entry comes first in its matrix", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama().model();
  // Entry 77 + tensor holds half of the squared gradient; the rest is spread over 1,000 entries and more.
  const auto slope = [&](std::size_t t, index_t i) {
    const zoq::any_packed& w = model.tensors()[t].weight;
    return i == 77 + static_cast<index_t>(t)
               ? 1.0
               : 1 / std::sqrt(static_cast<double>(w.rows() * w.columns()));
  };
  const zoq::forward_curvature score(
      exec, model.tensors(), quadratic_loss{model.tensors(), slope, flat, 1.0}, {.probes = 64});
  CHECK(score.entries() == model.config().linear_weights());
  const visited got(score);
  REQUIRE(got.order.size() == 14);
  for (const std::string& name : got.order) {
    const std::vector<float>& s = got.of.at(name);
    const auto planted = at(77 + zoq::find_tensor(model.tensors(), name));
    CHECK(static_cast<std::size_t>(std::max_element(s.begin(), s.end()) - s.begin()) == planted);
    // g errs by sqrt(2 / 64), its square by twice that; 4 standard errors.
    CHECK(std::fabs(s[planted] - 1) <= 4 * 2 * std::sqrt(2.0f / 64));
    // The mean over many entries is unbiased: (|g|^2 of all) / n to some n^-1/2 of the noise 2 / 64.
    double sum = 0;
    for (const float x : s) {
      sum += static_cast<double>(x);
    }
    CHECK(std::fabs(sum - 2) <= 4 * std::sqrt(2 * 4.0 * static_cast<double>(s.size())) / 64);
  }
}

namespace {

/// The mean next-token loss of a text, of a model with one matrix moved.
template <class X>
struct text_loss {
  zoq::decoder_forward<X> pass;
  zoq::text_samples text;
  zoq::packing batch;

  text_loss(const X& exec, const llama& model, std::vector<zoq::token_t> tokens)
      : pass(exec, model), text{{std::move(tokens)}} {
    text.pack(0, batch);
  }
  double operator()(const branch_parts& moved) {
    std::vector<double> scores(batch.reads.size()), weights(batch.reads.size());
    pass.score(batch, moved, scores);
    return text.loss(0, scores, weights);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("forward_curvature: the most sensitive entries of a tiny model are found", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  zoq::llama_config config = tiny_config();
  config.layers = 1;
  config.hidden = 8;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_size = 4;
  config.feed_forward = 8;
  config.vocabulary = 16;
  const tiny_llama tiny({.config = config});
  const llama model = tiny.model();
  const std::vector<zoq::token_t> tokens = some_tokens(10, 1, 16);
  text_loss<X> loss(exec, model, tokens);
  const visited got(zoq::forward_curvature(exec, model.tensors(), std::ref(loss),
                                           {.probes = 1500, .epsilon = 1e-2}));
  const gradients wanted = next_token_gradients(config, tiny.decoded(), tokens);
  REQUIRE(got.order.size() == 7);
  for (const std::string& name : got.order) {
    CAPTURE(name);
    const auto& g = wanted.tensor[at(zoq::find_tensor(model.tensors(), name))];
    double norm = 0;
    std::size_t most = 0;
    for (std::size_t i = 0; i < g.size(); ++i) {
      norm += g[i] * g[i];
      most = std::fabs(g[i]) > std::fabs(g[most]) ? i : most;
    }
    // Its score is right to the noise of g, |g| / sqrt(P) at 4 standard errors and the bias of e^2.
    const double found = std::sqrt(std::fmax(0.0, static_cast<double>(got.of.at(name)[most])));
    CHECK(std::fabs(found - std::fabs(g[most])) <= 5 * std::sqrt(norm / 1500));
    // And it stands among the first few.
    index_t better = 0;
    for (const float s : got.of.at(name)) {
      better += s > got.of.at(name)[most] ? 1 : 0;
    }
    CHECK(better <= 2);
  }
}

TEST_CASE("forward_curvature and hessian_trace: every family has them, without a reverse pass") {
  const zoq::serial exec;
  for (const zoq::llama_config& config :
       {tiny_config(), tiny_gpt2_config(), tiny_openelm_config()}) {
    CAPTURE(config.family);
    const llama model = tiny_llama({.config = config}).model();
    text_loss<zoq::serial> loss(exec, model, some_tokens(6, 1, config.vocabulary));
    const visited got(zoq::forward_curvature(exec, model.tensors(), std::ref(loss), {.probes = 2}));
    index_t entries = 0;
    for (const auto& tensor : got.of) {
      entries += static_cast<index_t>(tensor.second.size());
      CHECK(std::any_of(tensor.second.begin(), tensor.second.end(), [](float s) { return s > 0; }));
    }
    CHECK(entries == config.linear_weights());
    for (const zoq::tensor_score& s :
         zoq::hessian_trace(exec, model.tensors(), std::ref(loss), {.probes = 1}).of_tensors()) {
      CHECK(std::isfinite(s.score));
      CHECK(s.score != 0);
    }
  }
}

TEST_CASE("forward_curvature: settings without sense are refused") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  const auto error = [&](const zoq::forward_curvature_options& options) {
    return message_of([&] {
      zoq::forward_curvature(
          exec, model.tensors(), [](const branch_parts&) { return 0.0; }, options);
    });
  };
  CHECK(error({.probes = 1}) == "forward-curvature: 1 probes, wanted 2 at least");
  CHECK(error({.epsilon = -1}) == "forward-curvature: epsilon is -1, wanted a positive number");
}
