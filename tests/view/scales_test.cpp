// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/scales.hpp"

#include <doctest/doctest.h>

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

namespace {

template <class X>
using scales_view = zoq::laid_out_view<X, zoq::scales_layout<X>>;
static_assert(zoq::parameter_view<scales_view<zoq::cpu>, zoq::cpu>);

template <class X>
scales_view<X> scales(const X& exec, const zoq::llama& model, index_t block) {
  return {exec, zoq::scales_layout<X>(exec, target_of(model), {.block = block})};
}

}  // namespace

TEST_CASE_TEMPLATE("scales: at its start the logits are the model's, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const auto format : format_names()) {
    CAPTURE(format);
    if (32 % zoq::find_format(format)->block_size != 0) {
      continue;
    }
    const zoq::llama model = tiny_llama({.format = format}).model();
    const auto view = scales(exec, model, 32);
    CHECK(same_bits(logits_of(exec, model, view.branches()), logits_of(exec, model, {})));
  }
}

TEST_CASE_TEMPLATE("scales: the model of weights times 1 + value of their block", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  tiny_llama tiny({.format = "q4_1"});
  const zoq::llama model = tiny.model();
  auto view = scales(exec, model, 16);
  const std::vector<float> values = uniform(view.order().size, 3, -0.3, 0.3);
  set_values(exec, view, values);
  index_t first = 0;
  for (const auto& t : tiny_llama({.format = "q4_1"}).tensors) {
    if (t.role != zoq::tensor_role::linear) {
      continue;
    }
    std::vector<float> weights = t.weight.decoded();
    for (std::size_t i = 0; i < weights.size(); ++i) {
      weights[i] *= 1 + values[at(first) + i / 16];
    }
    first += static_cast<index_t>(weights.size()) / 16;
    tiny = with_weights(tiny, t.name, weights);
  }
  CHECK(first == view.order().size);
  // Weights are rounded in other ways, by 2^-24 of them.
  CHECK(relative_error(logits_of(exec, model, view.branches()),
                       logits_of(exec, tiny.model(), {})) <= 1e-5);
  CHECK(same_bits(stacked(exec, model, view, two_pairs()),
                  one_by_one(exec, model, view, two_pairs())));
}

TEST_CASE("scales: a block that does not divide the columns is refused") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  CHECK(message_of([&] { scales(exec, model, 24); }) ==
        "scales: a block of 24 does not divide the 32 columns of blk.0.attn_q.weight");
}
