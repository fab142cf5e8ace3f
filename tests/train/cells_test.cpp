// SPDX-License-Identifier: Apache-2.0
// Sparsity, quantisation and zeroth-order estimates compose: every cell of formats, views and estimators.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/model/target.hpp"
#include "zoq/train/trainer.hpp"
#include "zoq/view/layouts.hpp"

namespace {

using namespace zoq::test;

struct cell {
  std::vector<float> before, after;
  std::vector<double> losses;
};

template <class X>
cell one_step(const X& exec, const zoq::llama& model, const zoq::any_view& how,
              const std::string& estimator, double rate, zoq::index_t stacked) {
  const zoq::mask places = large_weights(model);
  zoq::view_target target = zoq::target_of(model);
  target.places = &places;
  zoq::laid_out_view view(exec, zoq::layout_of(exec, how, target));
  const zoq::any_estimator e(zoq::policy_named<zoq::any_estimator::list>("estimator", estimator));
  zoq::trainer run(exec, model, view, zoq::option_likelihood{}, e, zoq::sgd{.rate = rate});
  const std::vector<zoq::example> rows = tiny_task(4);
  cell out;
  out.before = view.to_host();
  run.run(rows, {.steps = 1, .batch_size = 4, .seed = 5, .stacked_branches = stacked},
          [&](const zoq::step_result& s) {
            for (const zoq::answer& a : s.answers) {
              out.losses.push_back(a.loss);
            }
            return true;
          });
  out.after = view.to_host();
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("R4: every format, view and estimator steps together, or is refused", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  struct wanted {
    std::string estimator;
    std::size_t losses;
  };
  for (const std::string format : {"f32", "bf16", "q8_0", "q4_0", "q4_1", "nf4", "lut4"}) {
    zoq::decoder_config config = tiny_config();
    config.hidden = 64;  // whole blocks of every format
    config.head_size = config.hidden / config.heads;
    const zoq::llama model = tiny_llama({.config = config, .format = format}).model();
    const std::string hash = model.hash();
    for (const std::string view : {"sparse", "dense", "lora:rank=2", "prompt:rows=3"}) {
      const auto how = zoq::policy_named<zoq::any_view>("view", view);
      for (const wanted& w :
           {wanted{"spsa", 2}, wanted{"spsa-one-sided", 2}, wanted{"spsa:probes=3", 6}}) {
        CAPTURE(format);
        CAPTURE(view);
        CAPTURE(w.estimator);
        if (view == "dense" && format != "f32" && format != "bf16") {
          const std::string refused =
              message_of([&] { one_step(exec, model, how, w.estimator, 1e-2, 8); });
          CHECK(refused.find("dense") != refused.npos);
          CHECK(refused.find(format) != refused.npos);
          continue;
        }
        const cell stepped = one_step(exec, model, how, w.estimator, 1e-2, 8);
        CHECK(stepped.losses.size() == w.losses);
        CHECK_FALSE(same_bits(stepped.before, stepped.after));
        CHECK(std::all_of(stepped.after.begin(), stepped.after.end(),
                          [](float v) { return std::isfinite(v); }));
        // A step of rate 0 changes no value, stacking changes none, and the base never changes.
        const cell still = one_step(exec, model, how, w.estimator, 0, 2);
        CHECK(still.before == still.after);  // to the bit, but for the sign of zeros
        CHECK(still.losses == stepped.losses);
        CHECK(model.hash() == hash);
      }
    }
  }
}
