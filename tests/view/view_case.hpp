// A small model under a view, for the tests of layouts.
//
//     const zoq::llama model = zoq::test::tiny_llama().model();
//     zoq::test::logits_of(exec, model, view.branches());      // [branches, V]
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/tiny_llama.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/tensor/packing.hpp"
#include "zoq/view/target.hpp"

namespace zoq::test {

/// Everything that layouts need of a model; places and tokens are the test's.
inline view_target target_of(const llama& model) {
  const llama_config& c = model.config();
  view_target out{.tensors = model.tensors()};
  for (index_t l = 0; l < c.layers; ++l) {
    out.key_columns.push_back(c.at(l).kv_heads * c.head_size);
  }
  return out;
}

/// Logits after the last of a few tokens, in every branch.
template <class X>
std::vector<float> logits_of(const X& exec, const llama& model, const branch_parts& branches) {
  llama_forward<X> pass(exec, model);
  packing batch;
  batch.add(some_tokens(7, 1, model.config().vocabulary));
  batch.read(0, 6, 0);
  std::vector<float> out;
  pass.logits(batch, branches, out);
  return out;
}

/// Two pairs along two directions.
inline std::vector<query> two_pairs(double scale = 1e-2) {
  return {{.seed = 1, .scale = scale},
          {.seed = 1, .scale = -scale},
          {.seed = 2, .scale = scale},
          {.seed = 2, .scale = -scale}};
}

/// The logits of every query, moved to one by one.
template <class X, class View>
std::vector<float> one_by_one(const X& exec, const llama& model, View& view,
                              const std::vector<query>& asked) {
  std::vector<float> out;
  for (const query& q : asked) {
    view.move_to(exec, gaussian{}, {&q, 1});
    const std::vector<float> one = logits_of(exec, model, view.branches());
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}
template <class X, class View>
std::vector<float> stacked(const X& exec, const llama& model, View& view,
                           const std::vector<query>& asked) {
  view.move_to(exec, gaussian{}, asked);
  return logits_of(exec, model, view.branches());
}

/// Sets the values of a view.
template <class X, class View>
void set_values(const X& exec, View& view, const std::vector<float>& values) {
  exec.upload(values.data(), static_cast<index_t>(values.size()), view.values().data);
  view.move_to_values(exec);
}

/// The values that a part has in a branch.
inline std::vector<float> values_of(const part_values& part, index_t n, index_t branch = 0) {
  return {part.at(branch), part.at(branch) + n};
}

/// The model with one of its tensors replaced by floats.
inline tiny_llama with_weights(tiny_llama tiny, std::string_view name,
                               const std::vector<float>& values) {
  tiny_llama::tensor& t = tiny.named(name);
  t.weight = pack("f32", values, t.weight.view.rows(), t.weight.view.columns());
  return tiny;
}

}  // namespace zoq::test
