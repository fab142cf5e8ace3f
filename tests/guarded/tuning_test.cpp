// All that a device must do, on memory as a device has it (guarded/memory.hpp): what touches the other
// side's memory ends the process. The results are those of zoq::omp, the same template on plain memory.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#ifdef ZOQ_TEST_OMP
#include <string>
#include <vector>

#include "guarded/memory.hpp"
#include "io/temporary_folder.hpp"
#include "train/tiny_task.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/train/checkpoint.hpp"
#include "zoq/view/delta.hpp"

using namespace zoq::test;
using zoq::compute;
using zoq::index_t;
using zoq::omp;

namespace {

/// The same slices as the guarded executor's: so the same bits.
omp plain(compute products = compute::f32) { return omp{{products, 4096}}; }
guarded device(compute products = compute::f32) { return guarded{{products, 4096}}; }

std::vector<std::vector<zoq::token_t>> windows() {
  return {some_tokens(9, 1, 96), some_tokens(9, 2, 96), some_tokens(9, 3, 96)};
}

template <class X>
zoq::mask sensitive(const X& exec, const zoq::llama& model) {
  zoq::mask m = zoq::top_k(zoq::fisher(exec, model, windows()), {.density = 0.05});
  m.model_hash = model.hash();
  return m;
}

void check_same(const outcome& found, const outcome& wanted) {
  CHECK(losses_of(found) == losses_of(wanted));
  CHECK(same_bits(found.values, wanted.values));
}

}  // namespace

TEST_CASE("R18: tuning on a device's memory gives the bits of the same template on the host's") {
  name_wrong_accesses();
  for (const char* format : {"q4_1", "q8_0"}) {
    const zoq::llama model = tiny_llama({.format = format, .tied = format[1] == '8'}).model();
    const zoq::mask places = large_weights(model);
    const auto rows = tiny_task(7);
    const zoq::train_options options = {.steps = 6, .batch_size = 3, .seed = 2};
    for (const compute products : {compute::f32, compute::bf16}) {
      CAPTURE(format);
      CAPTURE(zoq::name_of(products));
      check_same(train(device(products), model, places, rows, options),
                 train(plain(products), model, places, rows, options));
    }
    // Optimizers with a state; other directions, schedules, and branches one after another.
    const zoq::train_options other = {.steps = 5,
                                      .batch_size = 4,
                                      .seed = 3,
                                      .direction = zoq::rademacher{},
                                      .schedule = zoq::linear_decay{},
                                      .stacked_rows = 16,
                                      .stacked_branches = 2};
    check_same(train(device(), model, places, rows, other, zoq::spsa{}, with_state),
               train(plain(), model, places, rows, other, zoq::spsa{}, with_state));
    check_same(train(device(), model, places, rows, other, zoq::spsa_one_sided{.probes = 3}),
               train(plain(), model, places, rows, other, zoq::spsa_one_sided{.probes = 3}));
  }
}

TEST_CASE("R18: evaluation, the choice of epsilon, and text that goes on") {
  name_wrong_accesses();
  const auto all = [](const auto& exec) {
    const zoq::llama model = tiny_llama({.format = "q4_0"}).model();
    const auto rows = tiny_task(9);
    auto view = zoq::sparse_view(exec, model.tensors(), large_weights(model));
    zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{});
    run.start(rows, {.steps = 2, .batch_size = 3});
    std::vector<double> out = {run.measure_epsilon().epsilon};
    run.advance();
    const zoq::evaluation e = run.measure(rows, [](const zoq::evaluation&) { return true; });
    out.push_back(e.branch[0].mean());
    out.push_back(static_cast<double>(e.right));

    zoq::llama_forward pass(exec, model, run.pass().weights());
    std::vector<float> logits;
    pass.start_sequence(12);
    for (const index_t n : {5, 1, 1}) {
      pass.extend(some_tokens(n, 4, 96), {}, logits);
      out.insert(out.end(), logits.begin(), logits.end());
    }
    zoq::packing batch;
    batch.read(batch.add(some_tokens(6, 5, 96)), 3, 1);
    pass.logits(batch, view.branches(), logits);
    out.insert(out.end(), logits.begin(), logits.end());
    return out;
  };
  CHECK(all(device()) == all(plain()));
}

TEST_CASE("R18: sensitivities measured on a device, and the mask that they make") {
  name_wrong_accesses();
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask found = sensitive(device(), model);
  const zoq::mask wanted = sensitive(plain(), model);
  CHECK(found.hash() == wanted.hash());
  CHECK(found.count() == wanted.count());
}

TEST_CASE("R18: a mask and a delta go from the host to a device and back") {
  name_wrong_accesses();
  const temporary_folder folder;
  const zoq::serial host;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const auto rows = tiny_task(7);
  const zoq::train_options options = {.steps = 4, .batch_size = 3, .seed = 2};
  // Tuned on the host, then on the device, then on the host again: each goes on where one stopped.
  const auto leg = [&](const auto& exec, const auto& start, const std::string& path) {
    auto view = zoq::sparse_view(exec, model.tensors(), start);
    const auto before = view.to_delta().values;
    zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{},
                     zoq::sgd{.rate = 0.02});
    run.run(rows, options);
    zoq::write_delta(path, view.to_delta(), {});
    return before;
  };
  leg(host, sensitive(host, model), folder / "a");
  const zoq::delta a = zoq::read_delta(folder / "a");
  CHECK(same_bits(leg(device(), a, folder / "b"), a.values));
  const zoq::delta b = zoq::read_delta(folder / "b");
  CHECK(b.places.hash() == a.places.hash());
  CHECK_FALSE(same_bits(b.values, a.values));
  CHECK(same_bits(leg(host, b, folder / "c"), b.values));
}

TEST_CASE(
    "R18: losses recorded on the host replay on a device to the bit, and a checkpoint goes on") {
  name_wrong_accesses();
  const temporary_folder folder;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = large_weights(model);
  const auto rows = tiny_task(7);
  const zoq::train_options options = {
      .steps = 8, .batch_size = 3, .seed = 6, .direction = zoq::rademacher{}};
  const outcome wanted =
      train(zoq::serial{}, model, places, rows, options, zoq::spsa{}, with_state);
  const index_t k = places.count();
  {
    const guarded exec = device();
    auto view = zoq::sparse_view(exec, model.tensors(), places);
    zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, with_state);
    run.start(rows, options);
    for (std::size_t t = 0; t < 5; ++t) {
      run.replay(wanted.steps[t].answers);
    }
    std::vector<float> state(static_cast<std::size_t>(k));
    exec.download(run.steps().optimizer_state().data, k, state.data());
    zoq::write_checkpoint(folder / "c", {5, view.to_delta().values, state, "run"});
  }
  const guarded exec = device();
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  zoq::trainer run(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, with_state);
  run.start(rows, options);
  const zoq::checkpoint from = zoq::read_checkpoint(folder / "c", k, "run");
  exec.upload(from.values.data(), k, view.values().data);
  exec.upload(from.optimizer.data(), k, run.steps().optimizer_state().data);
  run.steps().skip_to(from.steps);
  while (!run.steps().done()) {
    run.replay(wanted.steps[run.steps().next()].answers);
  }
  CHECK(same_bits(view.to_delta().values, wanted.values));
}
#endif
