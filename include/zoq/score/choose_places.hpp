// The places of a mask by the name of a score, for command lines and bindings: programs that know their
// score name its type instead.
//
//     zoq::mask m = zoq::choose_places(exec, model, {.score = "fisher"}, samples, loss, tell, take_best);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/function_ref.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/model/decoder.hpp"
#include "zoq/model/llama_family.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/score/scores.hpp"
#include "zoq/score/scores_ref.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/sparse/tensor_budget.hpp"
#include "zoq/sparse/top_k.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// Which score, and how places are chosen by it.
struct score_choice {
  std::string score = "fisher";  // a name of score_entries
  std::string settings = {};     // of the score: "probes=8"
  top_k_options best = {};       // of the scores: how many, and per what
  seed_t seed = 0;               // of random scores and of probes
  branch_parts at = {};          // where scores that look at tuned values are taken; none: the base
};

namespace detail {
template <class Settings>
Settings score_settings(const score_choice& how, Settings out = {}) {
  set_settings(out, text("score ", how.score), how.settings);
  return out;
}
struct no_settings {};
}  // namespace detail

/// finish(scores, top_k_options): the places that are made of the scores, such as top_k's.
using score_finish = function_ref<mask(const scores_ref&, const top_k_options&)>;
/// loss(pass, branch_parts): the mean loss of the samples by a forward pass of the model.
template <executor X>
using score_loss =
    std::type_identity_t<function_ref<double(decoder_forward<X>&, const branch_parts&)>>;

/// The score of this name needs no samples.
mask choose_places(const decoder& model, const score_choice& how, score_finish finish);

/// The places that `finish` makes of the scores. `samples` are those of a reverse pass, `loss` is theirs, `tell`
/// is called after each piece of work. Throws on an unknown score or setting. Cost: that of the score, see
/// score_entries.
template <executor X>
mask choose_places(const X& exec, const decoder& model, const score_choice& how,
                   samples_ref samples, score_loss<X> loss, const score_progress& tell,
                   score_finish finish) {
  const std::string_view score = how.score;
  const auto tensors = model.tensors();
  // A pass is there only while it is needed: on a device it has a copy of the model.
  const auto loss_with = [loss](decoder_forward<X>& pass) {
    return [loss, &pass](const branch_parts& parts) { return loss(pass, parts); };
  };
  if (score == forward_curvature<any_executor, int>::name) {
    const auto options = detail::score_settings(how, forward_curvature_options{.seed = how.seed});
    auto pass = forward_of(exec, model);
    return finish(forward_curvature(exec, tensors, loss_with(pass), options, tell), how.best);
  }
  if (score == hessian_trace<any_executor, int>::name) {
    // Traces say how many entries each matrix gets; gradients, or sizes where the family has no reverse
    // pass, say which.
    const auto options = detail::score_settings(how, hessian_trace_options{.seed = how.seed});
    top_k_options best = how.best;
    const auto k = static_cast<index_t>(best.density *
                                        static_cast<double>(linear_weights(tensors)) * (1 + 1e-12));
    {
      auto pass = forward_of(exec, model);
      const hessian_trace traces(exec, tensors, loss_with(pass), options, tell);
      best.counts = tensor_budget(traces.of_tensors(), k, options.power);
    }
    best.per = scope::tensor;
    return model.config().family == llama_family::name
               ? finish(fisher(exec, model, samples, tell), best)
               : finish(magnitude(tensors), best);
  }
  if (score == loss_sensitivity<any_executor, int, text_samples>::name) {
    detail::score_settings(how, detail::no_settings{});
    return finish(loss_sensitivity(exec, model, samples, tell), how.best);
  }
  if (!score_named(score).needs_reverse) {
    return choose_places(model, how, finish);
  }
  auto options = detail::score_settings(how, fisher_options{});
  options.at = how.at;
  const fisher squares(exec, model, samples, tell, options);
  return score.starts_with("neuron") ? finish(neuron(squares), how.best)
                                     : finish(squares, how.best);
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY mask choose_places(const decoder& model, const score_choice& how, score_finish finish) {
  const auto tensors = model.tensors();
  if (how.score == magnitude::name) {
    return finish(magnitude(tensors), how.best);
  }
  if (how.score == magnitude_smallest::name) {
    return finish(magnitude_smallest(tensors), how.best);
  }
  if (how.score == random_score::name) {
    return finish(random_score(tensors, how.seed), how.best);
  }
  fail("the score ", score_named(how.score).name, " needs samples");
}

}  // namespace zoq

#endif
