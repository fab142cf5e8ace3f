// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/forward_curvature.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "score/moved_losses.hpp"
#include "score/reference_gradients.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/sparse/top_k.hpp"

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

/// Reads a dense offset as sparse entries, all of the matrix.
class all_entries {
 public:
  branch_parts operator()(const branch_parts& at, std::span<const zoq::model_tensor> tensors) {
    parts_.assign(tensors.size(), zoq::parts{});
    for (std::size_t t = 0; t < at.tensor.size(); ++t) {
      if (at.tensor[t].offset) {
        const index_t n = tensors[t].weight.rows() * tensors[t].weight.columns();
        row_.clear();
        column_.clear();
        for (index_t i = 0; i < n; ++i) {
          row_.push_back(static_cast<std::int32_t>(i / tensors[t].weight.columns()));
          column_.push_back(static_cast<std::int32_t>(i % tensors[t].weight.columns()));
        }
        parts_[t].sparse = zoq::sparse_part{
            {row_.data(), {n}}, {column_.data(), {n}}, at.tensor[t].offset->offset.all, 0};
      }
    }
    return {.count = 1, .tensor = parts_};
  }

 private:
  std::vector<zoq::parts> parts_;
  std::vector<std::int32_t> row_, column_;
};

}  // namespace

TEST_CASE("forward_curvature: the most sensitive entries of a tiny model are found") {
  const zoq::serial exec;
  zoq::llama_config config = tiny_config();
  config.layers = 1;
  config.hidden = 8;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_size = 4;
  config.feed_forward = 8;
  config.vocabulary = 16;
  tiny_llama tiny({.config = config});
  const llama model = tiny.model();
  const zoq::text_samples text{{some_tokens(10, 1, 16)}};
  zoq::packing batch;
  text.pack(0, batch);
  zoq::llama_forward pass(exec, model);
  all_entries spread;
  const auto loss = [&](const branch_parts& at) {
    std::vector<double> scores(batch.reads.size()), weights(batch.reads.size());
    pass.score(batch, spread(at, model.tensors()), scores);
    return text.loss(0, scores, weights);
  };
  const visited got(
      zoq::forward_curvature(exec, model.tensors(), loss, {.probes = 1500, .epsilon = 1e-2}));
  const gradients wanted = next_token_gradients(config, tiny.decoded(), text.windows[0]);
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
  CHECK(error({.epsilon = -1}) == "forward-curvature: epsilon -1");
}
