// SPDX-License-Identifier: Apache-2.0
// The same values to the bit: over numbers of threads, branches together or one pair after another,
// whole runs and runs that were cut and went on.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/optim/optimizers.hpp"
#include "zoq/train/checkpoint.hpp"
#include "zoq/train/record.hpp"
#include "zoq/train/trajectory.hpp"
#include "zoq/view/delta.hpp"

using namespace zoq::test;

namespace {

constexpr std::uint64_t steps = 12;

struct cell {
  int threads;
  zoq::index_t stacked;    // branches in one forward pass
  std::uint64_t cut = 0;   // the step after which the run is cut; 0: not
  std::uint64_t kept = 0;  // of its last checkpoint
};

/// The bytes of the delta's file.
std::string delta_of_run(const zoq::llama& model, const zoq::mask& places,
                         const std::vector<zoq::example>& rows, const std::string& estimator,
                         const std::string& optimizer, zoq::compute products, const cell& how) {
  const temporary_folder folder;
  const zoq::any_estimator e(zoq::policy_named<zoq::any_estimator::list>("estimator", estimator));
  const zoq::any_optimizer o(zoq::policy_named<zoq::any_optimizer::list>("optimizer", optimizer));
  // Micro-batches are cut otherwise too: with fewer branches more rows go together.
  const zoq::train_options options = {.steps = steps,
                                      .batch_size = 5,
                                      .seed = 9,
                                      .schedule = zoq::cosine{},
                                      .stacked_rows = how.stacked * 40,
                                      .stacked_branches = how.stacked};
  const nlohmann::json settings = {{"zoq", "trajectory.1"}};
  const auto until = [&](std::uint64_t last, bool resumed) {
    const zoq::cpu exec({how.threads, zoq::best_instruction_set(), products});
    auto view = zoq::sparse_view(exec, model.tensors(), places);
    zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, e, o);
    trainer.start(rows, options);
    auto& step = trainer.steps();
    zoq::trajectory seen;
    if (resumed) {
      seen = zoq::read_trajectory(folder / "t");
      const auto from = zoq::read_checkpoint(folder / "c", places.count(), "run");
      exec.upload(from.values.data(), places.count(), view.values().data);
      step.resume(from.steps, from.optimizer, from.estimator);
      while (step.next() < seen.losses.size()) {
        trainer.replay(seen.losses[step.next()]);
      }
      CHECK(trainer.cost().evaluations == 0);  // no finished step is repeated
    }
    zoq::trajectory_writer record(folder / "t", settings, seen.losses);
    while (step.next() < last) {
      const zoq::step_result r = trainer.advance();
      record.append(r.step, r.answers);
      if (step.next() == how.kept) {
        zoq::write_checkpoint(folder / "c", {step.next(), view.to_host(), step.saved_optimizer(),
                                             "run", step.saved_estimator()});
      }
    }
    zoq::save_delta(folder / "delta", view);
  };
  if (how.cut > 0) {
    until(how.cut, false);
  }
  until(steps, how.cut > 0);
  return contents(folder / "delta");
}

}  // namespace

TEST_CASE("same bits: 1, 2, 3 and 8 threads, stacked and sequential branches, cut and resumed") {
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<zoq::example> rows = tiny_task(11);
  const zoq::compute tuned = zoq::compute_for_tuning(zoq::best_instruction_set(), true);
  struct run {
    std::string estimator, optimizer;
    zoq::compute products;
  };
  for (const run& r : {run{"spsa:epsilon=0.01,probes=3", "sgd:rate=0.02", zoq::compute::f32},
                       run{"spsa:epsilon=0.01,probes=3", "adam:rate=0.002", tuned},
                       run{"svrg:epsilon=0.01", "momentum:rate=0.002", zoq::compute::f32}}) {
    CAPTURE(r.estimator);
    const auto bits = [&](const cell& how) {
      return delta_of_run(model, places, rows, r.estimator, r.optimizer, r.products, how);
    };
    const std::string wanted = bits({.threads = 1, .stacked = 8});
    CHECK(!wanted.empty());
    for (const int threads : {1, 2, 3, 8}) {
      for (const zoq::index_t stacked : {1, 8}) {  // 1: one pair, the least
        CAPTURE(threads);
        CAPTURE(stacked);
        CHECK(bits({threads, stacked}) == wanted);
        CHECK(bits({threads, stacked, 8, 5}) == wanted);
      }
    }
  }
}
