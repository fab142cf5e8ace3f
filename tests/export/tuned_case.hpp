// Tiny models with tuned values of any view, in files, and the logits that zoq computes with them.
//
//     zoq::test::tuned_case c(tiny_llama({.format = "q4_1"}), "lora:rank=2,alpha=4");
//     zoq::tuned_model m(c.model, c.values);
//     c.logits();
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "ops/samples.hpp"
#include "view/view_case.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/open_model_file.hpp"
#include "zoq/model/open.hpp"
#include "zoq/model/target.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/view/layouts.hpp"
#include "zoq/view/start_values.hpp"
#include "zoq/view/values_file.hpp"

namespace zoq::test {

struct tuned_case {
  temporary_folder folder;
  std::string model = folder / "model.gguf", values = folder / "values.safetensors";
  std::vector<float> logits;  // [V] after a few tokens, of the model with the values
  mask places;

  /// Values are random, so large that they show.
  tuned_case(const tiny_llama& tiny, const std::string& view_text, double density = 0.02) {
    tiny.write(model);
    put_values(model, view_text, density);
  }

  /// Values for the model at `path`, which becomes the case's model.
  void put_values(const std::string& path, const std::string& view_text, double density = 0.02) {
    model = path;
    const serial exec;
    const llama base = open_model(path);
    places = top_k(magnitude(base.tensors()), {.density = density});
    const auto how = policy_named<any_view>("view", view_text);
    view_target target = zoq::target_of(base);
    target.places = &places;
    laid_out_view view(exec, layout_of(exec, how, target));
    const index_t k = view.values().shape[0];
    const std::vector<float> noise = normal_values(7, 0, k, 0.05);
    for (index_t i = 0; i < k; ++i) {
      view.values().data[i] += noise[at(i)];
    }
    view.move_to_values(exec);
    logits = logits_of(exec, base, view.branches());
    save_values(values, exec, how, target, view, base.hash());
  }

  /// The same logits of a model in a file.
  static std::vector<float> logits_in(const std::string& path) {
    return logits_of(serial{}, open_model(path), branch_parts{});
  }
};

}  // namespace zoq::test
