// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/layouts.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "counting.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "train/tiny_task.hpp"
#include "view/view_case.hpp"
#include "zoq/core/choice.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/train/trainer.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

template <class X>
using any_view_on = zoq::laid_out_view<X, zoq::any_layout<X>>;
static_assert(zoq::parameter_view<any_view_on<zoq::cpu>, zoq::cpu>);
static_assert(zoq::view_layout<zoq::any_layout<zoq::serial>, zoq::serial>);

zoq::any_view named(std::string_view text) {
  return zoq::policy_named<zoq::any_view>("view", text);
}

// Views that start at the model.
const std::vector<std::string> at_the_model = {"sparse",
                                               "dense:roles=linear",
                                               "lora:rank=2,alpha=4",
                                               "lora-b:rank=2",
                                               "scales:block=16",
                                               "hybrid:rank=1,threshold=20",
                                               "subspace:of=lora,rank=2,dimension=30",
                                               "subspace:of=sparse,dimension=7",
                                               "subspace:of=scales,dimension=30,block=32",
                                               "dense"};
// Views that stand before the text.
const std::vector<std::string> before_the_text = {"prompt:rows=3", "residual-prompt:rows=3,width=4",
                                                  "prefix:rows=2,deviation=0.5",
                                                  "subspace:of=prompt,rows=3,dimension=20"};

std::vector<std::string> all_of(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("any_view: a text with settings for every view, and back") {
  const std::vector<std::string> names = zoq::names_of<zoq::any_view>();
  CHECK(names == std::vector<std::string>{"sparse", "dense", "lora", "lora-b", "prompt", "prefix",
                                          "residual-prompt", "scales", "hybrid", "subspace"});
  for (const std::string& name : names) {
    const std::string all = zoq::policy_text(named(name));
    CHECK(all.starts_with(name));
    CHECK(zoq::policy_text(named(all)) == all);
    std::visit(
        []<class S>(const S&) {
          CHECK_FALSE((S::summary.empty() || S::paper.empty() || S::cost.empty()));
        },
        named(name));
  }
  CHECK(zoq::policy_text(named("lora:rank=4")) == "lora:rank=4,alpha=16,seed=0");
  CHECK(zoq::policy_text(named("subspace:of=prefix,dimension=9,rows=3,seed=5")) ==
        "subspace:of=prefix,dimension=9,seed=5,rows=3,deviation=0.02");
  const zoq::any_view inside = named("subspace:seed=5");
  CHECK(std::get<zoq::lora_settings>(std::get<zoq::subspace_settings>(inside).inner).seed == 5);
  CHECK(message_of([] { named("subspace:of=lore"); }).starts_with("unknown view \"lore\""));
}

TEST_CASE("traits_of: what a view can do, and of a subspace what the other view can") {
  for (const std::string& name : all_of(at_the_model, before_the_text)) {
    CAPTURE(name);
    const zoq::view_traits can = zoq::traits_of(named(name));
    const auto holds = [&](const char* part) { return name.find(part) != name.npos; };
    CHECK(can.tunes_places == (holds("sparse") || holds("hybrid")));
    CHECK(can.chooses_tensors == !(holds("prompt") || holds("prefix")));
    CHECK(can.begins_as_tokens == holds("prompt"));
    CHECK(can.has_matrices == !(holds("sparse") || holds("subspace")));
  }
}

TEST_CASE_TEMPLATE(
    "any_layout: the model at first, where it adds to it, and single branches when stacked", X,
    ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.02});
  zoq::view_target target = target_of(model);
  target.places = &places;
  for (const std::string& name : all_of(at_the_model, before_the_text)) {
    CAPTURE(name);
    zoq::laid_out_view view(exec, zoq::layout_of(exec, named(name), target));
    const bool at_model = view.branches().leading_rows() == 0;
    CHECK(same_bits(logits_of(exec, model, view.branches()), logits_of(exec, model, {})) ==
          at_model);
    const std::vector<float> all = stacked(exec, model, view, two_pairs());
    CHECK(same_bits(all, one_by_one(exec, model, view, two_pairs())));
    CHECK_FALSE(same_bits(std::vector<float>(all.begin(), all.begin() + 96),
                          std::vector<float>(all.begin() + 96, all.begin() + 192)));
  }
}

TEST_CASE("any_layout: the trainer tunes any of them, and its cuts change no bit") {
  const zoq::cpu exec{{.threads = 2}};
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.05});
  const std::vector<zoq::example> rows = tiny_task(12);
  zoq::view_target target = target_of(model);
  target.places = &places;
  for (const std::string& name : all_of(at_the_model, before_the_text)) {
    CAPTURE(name);
    const auto values = [&](index_t branches) {
      zoq::laid_out_view view(exec, zoq::layout_of(exec, named(name), target));
      zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{.probes = 2},
                       zoq::sgd{.rate = 1e-3f});
      run.run(rows, {.steps = 3, .batch_size = 6, .stacked_branches = branches});
      return view.to_host();
    };
    const std::vector<float> tuned = values(8);
    CHECK(same_bits(values(2), tuned));
  }
}

TEST_CASE("any_layout: tensors that are left out never change the directions of the others") {
  const zoq::cpu exec{{.threads = 1}};
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.02});
  zoq::view_target target = target_of(model), some = target;
  target.places = some.places = &places;
  some.selection = zoq::select("", "attn_q,blk.0.ffn_gate");
  for (const char* name : {"sparse", "sparse:by_place=true", "dense", "lora", "lora-b", "scales"}) {
    CAPTURE(name);
    const auto moved = [&](const zoq::view_target& of) {
      zoq::laid_out_view view(exec, zoq::layout_of(exec, named(name), of));
      view.move_to(exec, zoq::rademacher{}, std::vector<zoq::query>{{.seed = 3, .scale = 1}});
      const float* all = nullptr;  // what was moved
      for (const zoq::parts& p : view.branches().tensor) {
        all = p.sparse     ? p.sparse->values.data
              : p.low_rank ? p.low_rank->b.all.data
              : p.offset   ? p.offset->offset.all.data
              : p.factor   ? p.factor->factor.all.data
                           : all;
      }
      std::map<std::string, std::vector<float>> out;
      for (index_t i = 0; i < view.order().count; ++i) {
        const zoq::extent& e = view.order().tensors[i];
        out[view.layout().blocks().names()[at(i)]].assign(all + e.first,
                                                          all + e.first + e.rows * e.columns);
      }
      return out;
    };
    const auto whole = moved(target), part = moved(some);
    CHECK(part.size() < whole.size());
    bool same = !part.empty();
    for (const auto& [tensor, values] : part) {
      same = same && same_bits(values, whole.at(tensor));
    }
    CHECK(same);
  }
}

TEST_CASE("sparse: by place, two masks move the places that they share alike") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  zoq::mask a, b;
  a.tensors.push_back({"blk.0.attn_q.weight", 32, 32, {3, 700}});
  a.tensors.push_back({"blk.1.ffn_up.weight", 64, 32, {9, 10, 2000}});
  b.tensors.push_back({"blk.1.ffn_up.weight", 64, 32, {8, 10, 11, 2000}});
  const auto moved = [&](const zoq::mask& places, bool by_place) {
    zoq::laid_out_view view(exec, zoq::sparse_layout<zoq::serial>(exec, model.tensors(), places, {},
                                                                  {.by_place = by_place}));
    view.move_to(exec, zoq::gaussian{}, std::vector<zoq::query>{{.seed = 3, .scale = 1}});
    const auto part = view.branches().on(model.layer(1).up).sparse;
    return std::vector<float>(part->values.data + part->first,
                              part->values.data + part->values.shape[1]);
  };
  CHECK(moved(a, true)[1] == moved(b, true)[1]);
  CHECK(moved(a, true)[2] == moved(b, true)[3]);
  CHECK(moved(a, false)[1] != moved(b, false)[1]);
}

TEST_CASE("layout_of: what a view needs and does not get is said") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama({.format = "q4_0"}).model();
  zoq::view_target target = target_of(model);
  const auto error = [&](std::string_view name) {
    return message_of([&] { (void)zoq::layout_of(exec, named(name), target); });
  };
  CHECK(error("sparse") == "sparse: needs a mask");
  CHECK(error("hybrid") == "hybrid: needs a mask");
  CHECK(error("subspace:of=hybrid") == "hybrid: needs a mask");
  CHECK(error("dense:roles=linear").starts_with("dense: blk.0.attn_q.weight is q4_0;"));
  CHECK(error("lora") == "");
}

TEST_CASE("R8: byte_count is what was allocated, for every view") {
  const counting exec;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.02});
  zoq::view_target target = target_of(model);
  target.places = &places;
  for (const std::string& name : zoq::names_of<zoq::any_view>()) {
    CAPTURE(name);
    const index_t before = counted_space::live;
    {
      zoq::laid_out_view view(exec, zoq::layout_of(exec, named(name), target));
      CHECK(view.byte_count() == counted_space::live - before);
      view.move_to(exec, zoq::gaussian{}, two_pairs());
      CHECK(view.byte_count() == counted_space::live - before);
    }
    CHECK(counted_space::live == before);
  }
}
