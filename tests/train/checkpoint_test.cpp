// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/checkpoint.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/safetensors.hpp"
#include "zoq/train/record.hpp"
#include "zoq/train/trajectory.hpp"

using zoq::checkpoint;
using zoq::index_t;
using namespace zoq::test;

namespace {

const checkpoint some = {7, {0.5f, -0.0f, 1e-40f}, {1, 2, 3, 4, 5, 6}, "run-1"};

}  // namespace

TEST_CASE("checkpoint: what is written comes back, to the bit") {
  const temporary_folder folder;
  zoq::write_checkpoint(folder / "c", some);
  const checkpoint got = zoq::read_checkpoint(folder / "c", 3, "run-1");
  CHECK(got.steps == 7);
  CHECK(same_bits(got.values, some.values));
  CHECK(same_bits(got.optimizer, some.optimizer));
  CHECK(got.run == "run-1");
  CHECK(got.estimator.empty());
  checkpoint with_estimator = some;
  with_estimator.estimator = {8, 9};
  zoq::write_checkpoint(folder / "c", with_estimator);
  CHECK(zoq::read_checkpoint(folder / "c", 3, "run-1").estimator == with_estimator.estimator);
  const checkpoint bare = {~std::uint64_t{0}, {1.0f}, {}, ""};  // an optimizer without a state
  zoq::write_checkpoint(folder / "c", bare);
  CHECK(zoq::read_checkpoint(folder / "c", 1, "").steps == ~std::uint64_t{0});
  CHECK(zoq::read_checkpoint(folder / "c", 1, "").optimizer.empty());
}

TEST_CASE("checkpoint: other runs and broken files are refused, naming the file") {
  const temporary_folder folder;
  const std::string path = folder / "c";
  const auto error = [&](index_t k, const std::string& run) {
    const std::string message = message_of([&] { zoq::read_checkpoint(path, k, run); });
    CHECK_MESSAGE(message.rfind(path + ": ", 0) == 0, message);
    return message.substr(std::min(message.size(), path.size() + 2));
  };
  zoq::write_checkpoint(path, some);
  CHECK(error(3, "run-2") == "belongs to another run: it names run-1, this run is run-2");
  CHECK(error(4, "run-1") == "3 values for 4 places");
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    using part = std::vector<float> checkpoint::*;
    for (const auto& [what, of] : {std::pair<const char*, part>{"a value", &checkpoint::values},
                                   {"a number of the optimizer's state", &checkpoint::optimizer},
                                   {"a number of the estimator's state", &checkpoint::estimator}}) {
      const std::string wanted = zoq::text(what, " is ", bad);
      checkpoint c = some;
      c.estimator = {8, 9};
      float& one = (c.*of)[1];
      one = 12345.0f;
      zoq::write_checkpoint(path, c);
      const std::string before = contents(path);
      one = bad;
      CHECK(message_of([&] { zoq::write_checkpoint(path, c); }) == path + ": " + wanted);
      CHECK(contents(path) == before);
      replace_in(path, 12345.0f, bad);
      CHECK(error(3, "run-1") == wanted);
    }
  }
  const auto write = [&](const std::map<std::string, std::string>& metadata) {
    const std::vector<zoq::safetensor> tensors = {
        zoq::safetensor_of<float>("values", {3}, some.values),
        zoq::safetensor_of<float>("optimizer", {6}, some.optimizer)};
    zoq::write_safetensors(path, tensors, metadata);
  };
  write({{"format", "zoq.delta.1"}, {"run", "run-1"}, {"steps", "7"}});
  CHECK(error(3, "run-1") == "not a checkpoint");
  write({{"run", "run-1"}, {"steps", "7"}});
  CHECK(error(3, "run-1") == "metadata format is missing");
  for (const char* steps : {"", "7x", "-1", "99999999999999999999"}) {
    write({{"format", "zoq.checkpoint.1"}, {"run", "run-1"}, {"steps", steps}});
    CHECK(error(3, "run-1") == std::string("steps are \"") + steps + "\"");
  }
  zoq::write_safetensors(path, std::vector{zoq::safetensor_of<float>("values", {3}, some.values)},
                         {{"format", "zoq.checkpoint.1"}, {"run", "run-1"}, {"steps", "7"}});
  CHECK(error(3, "run-1") == "tensor optimizer is missing");
  CHECK(message_of([&] {
          zoq::read_checkpoint(folder / "none", 3, "run-1");
        }).rfind(folder / "none", 0) == 0);
}

TEST_CASE_TEMPLATE("resume: checkpoint and trajectory go on as if nothing had happened", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const temporary_folder folder;
  const zoq::llama model = tiny_llama({.format = "q4_0"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<zoq::example> rows = tiny_task(7);
  const zoq::train_options options = {
      .steps = 14, .batch_size = 3, .seed = 6, .schedule = zoq::linear_decay{}};
  const outcome whole = train(exec, model, places, rows, options, zoq::spsa{}, with_state);

  const nlohmann::json settings = {{"zoq", "trajectory.1"}};
  {  // This run writes a checkpoint after 5 steps and is cut in the middle of step 9.
    auto view = zoq::sparse_view(exec, model.tensors(), places);
    zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, with_state);
    trainer.start(rows, options);
    zoq::trajectory_writer record(folder / "t", settings);
    for (int t = 0; t < 9; ++t) {
      const zoq::step_result s = trainer.advance();
      record.append(s.step, s.answers);
      if (t == 4) {
        zoq::write_checkpoint(
            folder / "c", {5, view.to_delta().values, trainer.steps().saved_optimizer(), "run"});
      }
    }
  }
  put(folder / "t", contents(folder / "t") + "{\"step\":9,\"los");

  auto view = zoq::sparse_view(exec, model.tensors(), places);
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, with_state);
  trainer.start(rows, options);
  const checkpoint from = zoq::read_checkpoint(folder / "c", places.count(), "run");
  const zoq::trajectory seen = zoq::read_trajectory(folder / "t");
  REQUIRE(seen.losses.size() == 9);
  exec.upload(from.values.data(), places.count(), view.values().data);
  trainer.steps().resume(from.steps, from.optimizer, from.estimator);
  while (trainer.steps().next() < seen.losses.size()) {
    trainer.replay(seen.losses[trainer.steps().next()]);
  }
  CHECK(trainer.cost().evaluations == 0);
  while (!trainer.steps().done()) {
    const zoq::step_result s = trainer.advance();
    CHECK(s.loss == whole.steps[s.step].loss);
  }
  CHECK(same_bits(view.to_delta().values, whole.values));
}
