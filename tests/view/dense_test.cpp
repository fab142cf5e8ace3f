// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/dense.hpp"

#include <doctest/doctest.h>

#include <string>
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
using dense_view = zoq::laid_out_view<X, zoq::dense_layout<X>>;
static_assert(zoq::parameter_view<dense_view<zoq::cpu>, zoq::cpu>);

template <class X>
dense_view<X> dense(const X& exec, const zoq::view_target& target,
                    const zoq::dense_settings& how = {}) {
  return {exec, zoq::dense_layout<X>(exec, target, how)};
}

}  // namespace

TEST_CASE_TEMPLATE("dense: offsets of zero leave the logits as they are, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const char* format : {"f32", "f16", "bf16"}) {
    const zoq::llama model = tiny_llama({.format = format}).model();
    const auto view = dense(exec, target_of(model));
    CHECK(same_bits(logits_of(exec, model, view.branches()), logits_of(exec, model, {})));
  }
}

TEST_CASE_TEMPLATE("dense: a view at some offsets is the model of the changed weights, to the bit",
                   X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const bool tied : {false, true}) {
    tiny_llama tiny({.tied = tied});
    const zoq::llama model = tiny.model();
    auto view = dense(exec, target_of(model));
    const std::vector<float> offsets = uniform(view.order().size, 3, -0.1, 0.1);
    set_values(exec, view, offsets);
    index_t first = 0;
    for (const auto& t : tiny_llama({.tied = tied}).tensors) {
      std::vector<float> values = t.weight.decoded();
      for (float& value : values) {
        value += offsets[at(first++)];
      }
      tiny = with_weights(tiny, t.name, values);
    }
    CHECK(first == view.order().size);
    const zoq::llama changed = tiny.model();
    CHECK(same_bits(logits_of(exec, model, view.branches()), logits_of(exec, changed, {})));
  }
}

TEST_CASE_TEMPLATE("dense: stacked branches have the bits of single ones", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  auto view = dense(exec, target_of(model));
  CHECK(same_bits(stacked(exec, model, view, two_pairs()),
                  one_by_one(exec, model, view, two_pairs())));
}

TEST_CASE("dense: every tensor of the roles has offsets, each value once") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  const auto view = dense(exec, target_of(model));
  index_t all = 0, next = 0;
  for (std::size_t i = 0; i < model.tensors().size(); ++i) {
    const zoq::model_tensor& t = model.tensors()[i];
    all += t.weight.rows() * t.weight.columns();
    const auto part = view.branches().on(static_cast<index_t>(i)).offset;
    REQUIRE(part.has_value());
    CHECK(part->offset.first == next);
    const zoq::extent& e = view.order().tensors[i];
    CHECK((e.first == next && e.rows == t.weight.rows() && e.columns == t.weight.columns()));
    next += t.weight.rows() * t.weight.columns();
  }
  CHECK(view.order().size == all);

  const auto some = dense(exec, target_of(model), {.roles = "norm+head"});
  for (std::size_t i = 0; i < model.tensors().size(); ++i) {
    const auto role = model.tensors()[i].role;
    CHECK(some.branches().on(static_cast<index_t>(i)).offset.has_value() ==
          (role == zoq::tensor_role::norm || role == zoq::tensor_role::head));
  }
  zoq::view_target target = target_of(model);
  target.selection = zoq::select("1-", "ffn");
  const auto layer = dense(exec, target);
  CHECK(layer.layout().blocks().names()[0] == "blk.1.attn_norm.weight.offset");
  CHECK(layer.layout().blocks().names().size() == 5);
}

TEST_CASE("dense: packed weights and what is no role are refused, with what to do") {
  const zoq::serial exec;
  const zoq::llama packed = tiny_llama({.format = "q4_1"}).model();
  CHECK(message_of([&] { dense(exec, target_of(packed)); }) ==
        "dense: token_embd.weight is q4_1; offsets of all weights need a model in f32, f16 or "
        "bf16. Of this one tune sparse, lora or scales, or other tensors (roles, layers, exclude)");
  CHECK(message_of([&] { dense(exec, target_of(packed), {.roles = "norm"}); }) == "");
  CHECK(message_of([&] { dense(exec, target_of(packed), {.roles = "norm+gain"}); }) ==
        "dense: \"gain\" in roles \"norm+gain\" is none of linear, embedding, position, norm, "
        "bias, head, nor all");
  const zoq::llama tied = tiny_llama({.tied = true}).model();
  CHECK(message_of([&] { dense(exec, target_of(tied), {.roles = "head"}); }) ==
        "dense: no tensor of roles \"head\" is selected; a head that is tied is the embedding's");
}
