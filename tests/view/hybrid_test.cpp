// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/hybrid.hpp"

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
    zoq::parameter_view<zoq::laid_out_view<zoq::cpu, zoq::hybrid_layout<zoq::cpu>>, zoq::cpu>);

namespace {

// 100 entries of one matrix, 3 and 65 of others.
zoq::mask some_places() {
  zoq::mask m;
  const auto first = [](index_t n) {
    std::vector<std::int32_t> out;
    for (index_t i = 0; i < n; ++i) {
      out.push_back(static_cast<std::int32_t>(5 * i));
    }
    return out;
  };
  m.tensors.push_back({"blk.0.attn_q.weight", 32, 32, first(100)});
  m.tensors.push_back({"blk.0.attn_k.weight", 16, 32, first(3)});
  m.tensors.push_back({"blk.1.attn_q.weight", 32, 32, first(65)});
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("hybrid: both parts, each with the values of its own view", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = some_places();
  zoq::view_target target = target_of(model);
  target.places = &places;
  // LoRA's own count is 2 (32 + 32) = 128 in two of them: all stay sparse.
  CHECK(zoq::hybrid_layout<X>(exec, target, {.rank = 2}).blocks().size() == 168);
  // At rank 1 it is 64.
  zoq::laid_out_view view(exec, zoq::hybrid_layout<X>(exec, target, {.rank = 1}));
  CHECK(view.order().size == 3 + 2 * 64);
  const index_t q0 = model.layer(0).query, k0 = model.layer(0).key, q1 = model.layer(1).query;
  const zoq::branch_parts all = view.branches();
  CHECK((all.on(k0).sparse && !all.on(k0).low_rank));
  CHECK((all.on(q0).low_rank && !all.on(q0).sparse));
  CHECK((all.on(q1).low_rank && !all.on(q1).sparse));
  CHECK(all.on(q0).low_rank->a.first == 3);
  CHECK(same_bits(logits_of(exec, model, all), logits_of(exec, model, {})));
  CHECK(view.layout().places(exec).count() == 168);

  // Values of both: the model with the sparse offsets, under LoRA alone.
  const std::vector<float> values = uniform(view.order().size, 3, -0.2, 0.2);
  set_values(exec, view, values);
  const tiny_llama tiny({.format = "q4_1"});
  std::vector<float> weights = tiny.decoded()[at(k0)];
  for (std::size_t i = 0; i < 3; ++i) {
    weights[5 * i] += values[i];
  }
  const zoq::llama changed = with_weights(tiny, "blk.0.attn_k.weight", weights).model();
  const std::vector<index_t> numbers = {q0, q1};
  zoq::laid_out_view lora(
      exec, zoq::lora_layout<X>(exec, changed.tensors(), numbers, {.rank = 1, .alpha = 8}));
  set_values(exec, lora, std::vector<float>(values.begin() + 3, values.end()));
  CHECK(relative_error(logits_of(exec, model, view.branches()),
                       logits_of(exec, changed, lora.branches())) <= 1e-5);
  CHECK(same_bits(stacked(exec, model, view, two_pairs()),
                  one_by_one(exec, model, view, two_pairs())));
}

TEST_CASE("hybrid: the threshold counts entries, and without a mask it is refused") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = some_places();
  zoq::view_target target = target_of(model);
  const auto count = [&](index_t threshold) {
    return zoq::hybrid_layout<zoq::serial>(exec, target, {.rank = 1, .threshold = threshold})
        .blocks()
        .size();
  };
  CHECK(message_of([&] { (void)count(1); }) == "hybrid: needs a mask");
  target.places = &places;
  CHECK(count(1) == 48 + 64 + 64);
  CHECK(count(65) == 3 + 65 + 64);
  CHECK(count(100) == 168);
  target.selection = zoq::select("1");
  CHECK(count(64) == 64);
  CHECK(message_of([&] {
          zoq::mask bad;
          bad.tensors.push_back({"output.weight", 96, 32, {1, 2, 3}});
          target = target_of(model);
          target.places = &bad;
          (void)count(1);
        }) == "mask: output.weight is not the matrix of a linear layer");
}
