// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/prompt.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using namespace zoq::test;

static_assert(
    zoq::parameter_view<zoq::laid_out_view<zoq::cpu, zoq::prompt_layout<zoq::cpu>>, zoq::cpu>);

TEST_CASE_TEMPLATE("prompt: starts as the embeddings of its tokens", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const tiny_llama tiny({.format = "q4_1"});
  const zoq::llama model = tiny.model();
  zoq::view_target target = target_of(model);
  target.tokens = {5, 90, 7};
  zoq::laid_out_view view(exec, zoq::prompt_layout<X>(exec, target, {.rows = 5}));
  const zoq::branch_parts all = view.branches();
  REQUIRE(all.prompt.has_value());
  CHECK(all.leading_rows() == 5);
  const std::vector<float> table = tiny.decoded()[0];
  std::vector<float> wanted;
  for (const int token : {5, 90, 7, 5, 90}) {
    wanted.insert(wanted.end(), table.begin() + token * 32, table.begin() + (token + 1) * 32);
  }
  CHECK(same_bits(values_of(all.prompt->x, 5 * 32), wanted));
  // The text behind these tokens.
  {
    zoq::llama_forward<X> pass(exec, model);
    std::vector<zoq::token_t> text = {5, 90, 7, 5, 90};
    const auto more = some_tokens(7, 1, 96);
    text.insert(text.end(), more.begin(), more.end());
    zoq::packing batch;
    batch.add(text);
    batch.read(0, 11, 0);
    std::vector<float> logits;
    pass.logits(batch, {}, logits);
    // Keys are summed in other blocks.
    CHECK(relative_error(logits_of(exec, model, all), logits) <= 1e-5);
  }
  view.move_to(exec, zoq::gaussian{}, two_pairs());
  CHECK(view.branches().count == 4);
  CHECK_FALSE(same_bits(values_of(view.branches().prompt->x, 5 * 32, 3), wanted));
  CHECK(std::all_of(all.tensor.begin(), all.tensor.end(),
                    [](const zoq::parts& p) { return p.empty(); }));
}

TEST_CASE("prompt: without tokens it starts as random ones, named by the seed") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  const auto start = [&](zoq::seed_t seed) {
    using layout = zoq::prompt_layout<zoq::serial>;
    return zoq::laid_out_view(exec, layout(exec, target_of(model), {.rows = 8, .seed = seed}))
        .to_host();
  };
  CHECK(same_bits(start(1), start(1)));
  CHECK_FALSE(same_bits(start(1), start(2)));
}

TEST_CASE("prompt: no rows, and tokens that there are not, are refused") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  zoq::view_target target = target_of(model);
  const auto error = [&](index_t rows) {
    return message_of([&] { zoq::prompt_layout<zoq::serial>(exec, target, {.rows = rows}); });
  };
  CHECK(error(0) == "prompt: rows is 0, wanted 1 to 1048576");
  target.tokens = {96};
  CHECK(error(1) == "prompt: token 96 is outside the vocabulary of 96");
}
