// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/values_file.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/view/delta.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

zoq::any_view named(std::string_view text) {
  return zoq::policy_named<zoq::any_view>("view", text);
}

}  // namespace

TEST_CASE_TEMPLATE("values: a file of every view makes the same view again", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const temporary_folder folder;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.02});
  zoq::view_target target = target_of(model);
  target.places = &places;
  target.tokens = {3, 1, 4};
  target.selection = zoq::select("0-1", "attn_v,ffn_up");
  for (const char* name :
       {"sparse", "dense:roles=linear+norm", "lora:rank=2", "lora-b:rank=2,seed=9", "prompt:rows=4",
        "prefix:rows=3", "residual-prompt:rows=4,width=3", "scales:block=8",
        "hybrid:rank=1,threshold=10", "subspace:of=hybrid,rank=1,threshold=10,dimension=5",
        "subspace:of=residual-prompt,rows=4,dimension=5"}) {
    CAPTURE(name);
    const std::string path = folder / "values";
    zoq::laid_out_view view(exec, zoq::layout_of(exec, named(name), target));
    const std::vector<float> values = uniform(view.order().size, 1);
    set_values(exec, view, values);
    zoq::save_values(path, exec, named(name), target, view, "abc", {{"steps", "7"}});
    const zoq::tuned_values read = zoq::read_values(path);
    CHECK(zoq::policy_text(read.how) == zoq::policy_text(named(name)));
    CHECK(read.model_hash == "abc");
    zoq::view_target plain = target_of(model);
    auto again = zoq::view_of(exec, plain, read);
    CHECK(same_bits(again.to_host(), values));
    CHECK(same_bits(logits_of(exec, model, again.branches()),
                    logits_of(exec, model, view.branches())));
    if (view.branches().prompt.has_value()) {
      const index_t n = 4 * 32;
      CHECK(same_bits(values_of(again.branches().prompt->x, n),
                      values_of(view.branches().prompt->x, n)));
    }
  }
  CHECK(zoq::safetensors_file::open(folder / "values").metadata("steps") == "7");
}

TEST_CASE("values: a delta is read as the values of a sparse view") {
  const zoq::serial exec;
  const temporary_folder folder;
  const zoq::llama model = tiny_llama().model();
  const zoq::mask places = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.02});
  const zoq::delta d{places, uniform(places.count(), 1)};
  zoq::write_delta(folder / "delta", d);
  const zoq::tuned_values read = zoq::read_values(folder / "delta");
  CHECK(same_bits(zoq::view_of(exec, target_of(model), read).to_host(), d.values));
  zoq::write_values(folder / "again", read);
  CHECK(zoq::read_delta(folder / "again").places.tensors == places.tensors);
}

TEST_CASE("values: files that are none, and of another model, are refused") {
  const zoq::serial exec;
  const temporary_folder folder;
  const zoq::llama model = tiny_llama().model();
  const std::string path = folder / "values";
  zoq::laid_out_view view(exec, zoq::layout_of(exec, named("lora:rank=2"), target_of(model)));
  zoq::tuned_values t = zoq::tuned_of(exec, named("lora:rank=2"), target_of(model), view, "abc");
  const auto error = [&] {
    zoq::write_values(path, t);
    return message_of([&] { (void)zoq::view_of(exec, target_of(model), zoq::read_values(path)); });
  };
  CHECK(error() == "");
  t.blocks[0].name = "blk.7.attn_q.weight.lora_a";
  CHECK(error() == "values: blk.0.attn_q.weight.lora_a is missing");
  t.blocks[0] = {"blk.0.attn_q.weight.lora_a", 2, 16, std::vector<float>(32)};
  CHECK(error() ==
        "values: blk.0.attn_q.weight.lora_a is 2 x 16, the view of this model has 2 x 32");
  t.blocks[0] = {"blk.0.attn_q.weight.lora_a", 2, 32, std::vector<float>(64, 12345.0f)};
  CHECK(error() == "");
  replace_in(path, 12345.0f, HUGE_VALF);
  CHECK(message_of([&] { zoq::read_values(path); }) ==
        path + ": blk.0.attn_q.weight.lora_a has a value that is inf");
  t.blocks[0].values[7] = HUGE_VALF;
  CHECK(message_of([&] { zoq::write_values(path, t); }) ==
        path + ": blk.0.attn_q.weight.lora_a: value 7 is inf");
  t.blocks.pop_back();
  t.blocks[0].values.assign(64, 0);
  CHECK(error() == "values: 27 blocks, the view of this model has 28");
  zoq::write_mask(path, {});
  CHECK(message_of([&] { zoq::read_values(path); }) ==
        path + ": the format is \"zoq.mask.1\", wanted \"zoq.values.1\" or \"zoq.delta.1\"");
  zoq::write_safetensors(path, {}, {{"format", "zoq.values.1"}, {"view", "lore"}, {"model", ""}});
  CHECK(message_of([&] { zoq::read_values(path); }).starts_with(path + ": unknown view \"lore\""));
  zoq::write_safetensors(path, {}, {{"format", "zoq.values.1"}, {"model", ""}});
  CHECK(message_of([&] { zoq::read_values(path); }) == path + ": metadata view is missing");
  // Sizes that memory would be asked for, of a file that holds nothing.
  const auto refusal = [&](const std::string& how) {
    zoq::write_safetensors(path, {}, {{"format", "zoq.values.1"}, {"view", how}, {"model", ""}});
    return message_of([&] { zoq::read_values(path); });
  };
  for (const std::string how :
       {"lora:rank=", "lora-b:rank=", "prompt:rows=", "prefix:rows=", "residual-prompt:width=",
        "residual-prompt:rows=", "subspace:of=lora,dimension=", "subspace:of=prompt,rows="}) {
    CHECK(refusal(how + "4096").empty());
    for (const std::string size : {"4097", "4611686018427387904", "-1"}) {
      CHECK(refusal(how + size).find(" is " + size + ", wanted 0 to 4096") != std::string::npos);
    }
  }
  CHECK(refusal("lora:alpha=nan") == path + ": view lora: alpha is nan");
  // A name that would steer a terminal.
  zoq::write_safetensors(path, std::vector{zoq::safetensor{"a\x1b[2J", "F32", {0}, {}}},
                         {{"format", "zoq.values.1"}, {"view", "lora"}, {"model", ""}});
  CHECK(message_of([&] { zoq::read_values(path); }) ==
        path + ": tensor a?[2J has a name with control characters or of more than 1024 bytes");
}
