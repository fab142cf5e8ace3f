// A short run of a tiny model by one process of a team.
//
//     team_result out = run_of(team_work{}, task.model, task.places, task.rows, zoq::alone{});
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "train/tiny_task.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/optim/optimizers.hpp"

namespace zoq::test {

struct team_result {
  std::vector<float> values;
  std::string wrong;
  index_t evaluations = 0, tokens = 0;
};

struct team_work {
  std::string estimator = "spsa:epsilon=0.01,probes=3", optimizer = "sgd:rate=0.02";
  compute products = compute::f32;
  index_t batch_size = 5, stacked = 8;
};

/// A run of 6 steps on one process of a team.
template <class Team>
team_result run_of(const team_work& w, const llama& model, const mask& places,
                   const std::vector<example>& rows, const Team& together, seed_t seed = 9) {
  team_result out;
  try {
    const cpu exec({1, best_instruction_set(), w.products});
    auto view = sparse_view(exec, model.tensors(), places);
    trainer trainer(exec, model, view, option_likelihood{},
                    any_estimator(policy_named<any_estimator::list>("estimator", w.estimator)),
                    any_optimizer(policy_named<any_optimizer::list>("optimizer", w.optimizer)),
                    together);
    trainer.run(
        rows,
        {.steps = 6, .batch_size = w.batch_size, .seed = seed, .stacked_branches = w.stacked});
    out.values = view.to_host();
    out.evaluations = trainer.cost().evaluations;
    out.tokens = trainer.cost().tokens;
  } catch (const error& e) {
    out.wrong = e.what();
  }
  return out;
}

struct team_task {
  llama model = tiny_llama({.format = "q4_1"}).model();
  mask places = large_weights(model);
  std::vector<example> rows = tiny_task(11);
};

/// Works that differ in what a round asks for, and in how it is rounded.
inline std::vector<team_work> team_works() {
  return {{},
          {.estimator = "leave-one-out:epsilon=0.01,probes=5", .stacked = 2},
          {.optimizer = "adam:rate=0.002",
           .products = compute_for_tuning(best_instruction_set(), true)},
          {.estimator = "svrg:epsilon=0.01", .batch_size = 3},
          {.estimator = "conservative:epsilon=0.01", .batch_size = 1}};
}

}  // namespace zoq::test
