// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/trainer.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "exec/executors.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/io/mask_file.hpp"
#include "zoq/objective/next_token.hpp"
#include "zoq/view/delta.hpp"

using zoq::any_estimator;
using zoq::example;
using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

const zoq::train_options few = {.steps = 6, .batch_size = 4, .seed = 3};

double mean_loss(const outcome& run, std::size_t first, std::size_t count) {
  double sum = 0;
  for (std::size_t i = first; i < first + count; ++i) {
    sum += run.steps[i].loss / static_cast<double>(count);
  }
  return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("R1: tuning evaluates two losses a step, two-sided, q + 1, one-sided", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama().model();
  const zoq::mask places = large_weights(model);
  const std::vector<example> rows = tiny_task(8);
  const auto evaluations = [&](const auto& estimator) {
    const outcome run = train(exec, model, places, rows, few, estimator);
    CHECK(run.steps.size() == 6);
    CHECK(losses_of(run).size() == at(run.cost.evaluations));
    return run.cost.evaluations;
  };
  CHECK(evaluations(zoq::spsa{}) == 6 * 2);
  CHECK(evaluations(zoq::spsa{.probes = 5}) == 6 * 10);  // more than stand in one forward pass
  CHECK(evaluations(zoq::spsa_one_sided{}) == 6 * 2);
  CHECK(evaluations(zoq::spsa_one_sided{.probes = 3}) == 6 * 4);
}

TEST_CASE_TEMPLATE("trainer: a few steps lower the loss of a tiny task", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<example> rows = tiny_task(16);
  const zoq::train_options options = {.steps = 60, .batch_size = 16, .seed = 1};
  // Every step sees all rows, so a run without learning would show no drop at all.
  const outcome two_sided = train(exec, model, places, rows, options);
  CHECK(mean_loss(two_sided, 55, 5) < 0.5 * mean_loss(two_sided, 0, 5));
  const outcome one_sided =
      train(exec, model, places, rows, options, zoq::spsa_one_sided{.probes = 2});
  CHECK(mean_loss(one_sided, 55, 5) < 0.5 * mean_loss(one_sided, 0, 5));
  std::vector<example> texts;
  for (const example& row : rows) {
    texts.push_back({row.prompt, {{50, 51, 52}}, 0});
  }
  const outcome next = train(exec, model, places, texts, options, zoq::spsa{},
                             zoq::sgd{.rate = 0.05}, zoq::next_token{});
  CHECK(mean_loss(next, 55, 5) < 0.9 * mean_loss(next, 0, 5));
}

TEST_CASE("R4: every format steps with every estimator and direction") {
  const zoq::cpu exec;
  const std::vector<example> rows = tiny_task(8);
  for (const auto format : format_names()) {
    CAPTURE(format);
    const llama model = tiny_llama({.format = format}).model();
    const zoq::mask places = large_weights(model);
    for (const zoq::any_direction& direction :
         {zoq::any_direction(zoq::gaussian{}), zoq::any_direction(zoq::rademacher{})}) {
      zoq::train_options options = few;
      options.direction = direction;
      options.steps = 2;
      for (const outcome& run :
           {train(exec, model, places, rows, options),
            train(exec, model, places, rows, options, zoq::spsa_one_sided{}),
            train(exec, model, places, rows, options, zoq::spsa{.probes = 2}, with_state)}) {
        CHECK(largest_difference(run.values, std::vector<float>(run.values.size())) > 0);
        CHECK(std::isfinite(run.steps[1].loss));
      }
    }
  }
}

TEST_CASE_TEMPLATE("R6: the quantised base never changes", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const auto format : format_names()) {
    CAPTURE(format);
    const tiny_llama tiny({.format = format});
    const llama model = tiny.model();
    std::vector<std::vector<std::byte>> before;
    for (const auto& t : tiny.tensors) {
      before.push_back(*t.weight.bytes);
    }
    const std::string hash = model.hash();
    const outcome run = train(exec, model, large_weights(model), tiny_task(8), few);
    CHECK(largest_difference(run.values, std::vector<float>(run.values.size())) > 0);
    CHECK(model.hash() == hash);
    for (std::size_t t = 0; t < before.size(); ++t) {
      CHECK(*tiny.tensors[t].weight.bytes == before[t]);
    }
  }
}

TEST_CASE_TEMPLATE("R6: a run of rate 0 leaves the values bit-exact", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama({.format = "q4_0"}).model();
  zoq::delta start{large_weights(model), {}};
  start.values = uniform(start.places.count(), 1, -0.1, 0.1);
  const outcome run =
      train(exec, model, start, tiny_task(4), few, zoq::spsa{}, zoq::sgd{.rate = 0});
  CHECK(same_bits(run.values, start.values));
  // And the view is left at them: the same losses as before.
  auto view = zoq::sparse_view(exec, model.tensors(), start);
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{},
                       zoq::sgd{.rate = 0});
  const std::vector<example> rows = tiny_task(4);
  const auto always = [](const zoq::evaluation&) { return true; };
  const auto before = trainer.measure(rows, always);
  trainer.run(rows, few);
  CHECK(view.branches().count == 1);
  CHECK(trainer.measure(rows, always).branch == before.branch);
}

TEST_CASE("trainer: any number of threads gives the same bits") {
  const llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<example> rows = tiny_task(10);
  const zoq::spsa estimator{.probes = 2};
  outcome first;
  for (const int threads : {1, 2, 3}) {
    const zoq::cpu exec{{.threads = threads}};
    const outcome run = train(exec, model, places, rows, few, estimator);
    first = threads == 1 ? run : first;
    CHECK(same_bits(losses_of(run), losses_of(first)));
    CHECK(same_bits(run.values, first.values));
  }
  // The oracle sums in double: losses differ by a float forward's rounding.
  const outcome oracle = train(zoq::serial{}, model, places, rows, few, estimator);
  CHECK(std::fabs(losses_of(oracle)[0] - losses_of(first)[0]) <= 1e-5);
}

TEST_CASE_TEMPLATE("trainer: how branches and rows are stacked changes no bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama({.format = "q4_0"}).model();
  const zoq::mask places = large_weights(model);
  const std::vector<example> rows = tiny_task(10);
  const zoq::spsa estimator{.probes = 4};
  zoq::train_options options = few;
  const outcome stacked = train(exec, model, places, rows, options, estimator);
  for (const auto& stacking : {std::pair{1, 1024}, {3, 1024}, {8, 1}, {1, 10}, {8, 100}}) {
    const index_t branches = stacking.first;
    const index_t limit = stacking.second;
    CAPTURE(branches);
    CAPTURE(limit);
    options.stacked_branches = branches;
    options.stacked_rows = limit;
    const outcome other = train(exec, model, places, rows, options, estimator);
    CHECK(same_bits(losses_of(other), losses_of(stacked)));
    CHECK(same_bits(other.values, stacked.values));
    CHECK(other.cost.tokens == stacked.cost.tokens);
  }
}

TEST_CASE("trainer: under every policy, how branches and rows are stacked changes no bit") {
  const std::vector<example> rows = tiny_task(10);
  for (const zoq::llama_config& config : {tiny_config(), small_config()}) {
    const llama model = tiny_llama({.config = config, .format = "q4_1"}).model();
    const zoq::mask places = large_weights(model);
    for_each_policy([&](const zoq::cpu_options& how) {
      const auto check = [&](const auto& estimator) {
        zoq::train_options options = few;
        options.steps = 2;
        const zoq::cpu exec{how}, more{with_threads(how, 2)};
        const outcome stacked = train(exec, model, places, rows, options, estimator);
        CHECK(largest_difference(stacked.values, std::vector<float>(stacked.values.size())) > 0);
        for (const auto& stacking : {std::pair{1, 1024}, {2, 50}, {8, 20}}) {
          options.stacked_branches = stacking.first;
          options.stacked_rows = stacking.second;
          CAPTURE(stacking.first);
          CAPTURE(stacking.second);
          const outcome other = train(more, model, places, rows, options, estimator);
          CHECK(same_bits(losses_of(other), losses_of(stacked)));
          CHECK(same_bits(other.values, stacked.values));
        }
      };
      check(any_estimator(zoq::spsa{.probes = 4}));            // pairs
      check(any_estimator(zoq::spsa_one_sided{.probes = 3}));  // single points
      check(any_estimator(zoq::conservative{.rate = 0.02}));   // a pair; then a base and a pair
      check(any_estimator(zoq::hizoo{.probes = 2}));           // a base and pairs with shapes
      check(any_estimator(zoq::svrg{.batches = 2}));  // other batches; then pairs from an anchor
    });
  }
}

TEST_CASE("R12: one mask file serves many tasks, another model's is refused by its hash") {
  const zoq::cpu exec;
  const temporary_folder folder;
  const llama model = tiny_llama({.format = "q4_1"}).model();
  zoq::write_mask(folder / "mask.safetensors", large_weights(model));
  const std::string hash = zoq::read_mask(folder / "mask.safetensors").hash();
  const zoq::train_options options = {.steps = 40, .batch_size = 8, .seed = 2};
  for (const index_t answer : {0, 1}) {
    const zoq::mask places = zoq::read_mask(folder / "mask.safetensors");
    CHECK(places.hash() == hash);
    CHECK(message_of([&] { zoq::require_model(places, model.hash(), "mask"); }) == "");
    const outcome run = train(exec, model, places, tiny_task(8, answer), options);
    CHECK(mean_loss(run, 35, 5) < mean_loss(run, 0, 5));
  }
  const llama other = tiny_llama({.format = "q4_0"}).model();
  const zoq::mask places = zoq::read_mask(folder / "mask.safetensors");
  CHECK(message_of([&] {
          zoq::require_model(places, other.hash(), folder / "mask.safetensors");
        }) == folder / "mask.safetensors" + ": made for another model: it names " + model.hash() +
                  ", this model is " + other.hash());
}

TEST_CASE("trainer: a batch is a function of seed and step, schedules reach the steps") {
  struct watching : zoq::option_likelihood {
    std::vector<zoq::token_t>* seen;
    explicit watching(std::vector<zoq::token_t>* s) : seen(s) {}
    void pack(const example& row, zoq::packing& batch) const {
      seen->push_back(row.prompt[0]);
      zoq::option_likelihood::pack(row, batch);
    }
  };
  static_assert(zoq::choosing_objective<watching>);
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  std::vector<example> rows = tiny_task(5);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].prompt[0] = static_cast<zoq::token_t>(i);  // so that a row is known by its prompt
  }
  const zoq::train_options options = {
      .steps = 4, .batch_size = 3, .seed = 11, .schedule = zoq::linear_decay{}};
  std::vector<zoq::token_t> seen;
  const outcome run = train(exec, model, large_weights(model), rows, options, zoq::spsa{},
                            zoq::sgd{.rate = 0.01}, watching(&seen));
  std::vector<zoq::token_t> wanted;
  zoq::row_order order(5, 3, 11);
  for (std::uint64_t t = 0; t < 4; ++t) {
    for (const index_t row : order.batch(t)) {
      wanted.push_back(static_cast<zoq::token_t>(row));
    }
    CHECK(run.steps[t].schedule == 1 - static_cast<double>(t) / 4);
  }
  CHECK(seen == wanted);
}

TEST_CASE("trainer: a run stops when it is told to, and the view stays at its last values") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  auto view = zoq::sparse_view(exec, model.tensors(), large_weights(model));
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{},
                       zoq::sgd{.rate = 0.01});
  const std::vector<example> rows = tiny_task(6);
  trainer.run(rows, few, [](const zoq::step_result& s) { return s.step < 2; });
  CHECK(trainer.steps().next() == 3);
  CHECK(trainer.cost().evaluations == 6);
  CHECK(trainer.cost().tokens > 0);
  CHECK(view.branches().count == 1);
  const auto number = zoq::llama_layer(0).query;
  const auto part = view.branches().on(number).sparse;
  REQUIRE(part.has_value());
  CHECK(part->values.data == view.values().data);
}

TEST_CASE_TEMPLATE("trainer: measure is an evaluation at the present values", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama().model();
  auto view = zoq::sparse_view(exec, model.tensors(), large_weights(model));
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{},
                       zoq::sgd{.rate = 0.01});
  const std::vector<example> rows = tiny_task(9);
  trainer.run(rows, few);
  const auto got = trainer.measure(rows, [](const zoq::evaluation&) { return true; });
  zoq::llama_forward<X> pass(exec, model);
  std::vector<const example*> all;
  for (const example& e : rows) {
    all.push_back(&e);
  }
  const auto wanted = zoq::evaluate(pass, view.branches(), zoq::option_likelihood{}, all);
  CHECK(got.branch == wanted.branch);
  CHECK(got.right == wanted.right);
  CHECK(got.rows == 9);
}

TEST_CASE("trainer: measuring an epsilon changes nothing") {
  const zoq::cpu exec;
  const llama model = tiny_llama().model();
  const std::vector<example> rows = tiny_task(6);
  zoq::delta start{large_weights(model), {}};
  start.values = uniform(start.places.count(), 1, -0.01, 0.01);
  auto view = zoq::sparse_view(exec, model.tensors(), start);
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{});
  trainer.start(rows, few);
  const zoq::epsilon_choice choice = trainer.measure_epsilon();
  CHECK(choice.losses == 40);
  CHECK(choice.noise > 0);
  CHECK(choice.epsilon >= 1e-5);
  CHECK(choice.epsilon <= 2e-2);
  CHECK(same_bits(view.to_delta().values, start.values));
  CHECK(view.branches().count == 1);
  CHECK(trainer.steps().next() == 0);
  trainer.estimator_settings().epsilon = choice.epsilon;
  trainer.run(rows, few);
  CHECK(trainer.steps().done());
}

TEST_CASE("trainer: what cannot go on stops, naming the step and the row of the data") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  struct losing : zoq::option_likelihood {
    zoq::token_t of;
    double loss(const example& row, std::span<const double> scores) const {
      return row.prompt[0] == of ? std::nan("") : zoq::option_likelihood::loss(row, scores);
    }
  };
  std::vector<example> rows = tiny_task(5);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].prompt[0] = static_cast<zoq::token_t>(i);
  }
  const zoq::train_options options = {.steps = 10, .batch_size = 1, .seed = 4};
  const index_t third = zoq::row_order(5, 1, 4).batch(2)[0];
  losing objective;
  objective.of = static_cast<zoq::token_t>(third);
  const auto error = [&](const std::vector<example>& data, const auto& wanted) {
    return message_of([&] {
      train(exec, model, large_weights(model), data, options, zoq::spsa{}, zoq::sgd{.rate = 0.01},
            wanted);
    });
  };
  // The largest value and its tensor: whether the values have grown too far is the first question.
  const std::string lost = error(rows, objective);
  CHECK(lost.rfind(zoq::text("step 2: row ", third + 1,
                             ", branch 0: the loss is nan; the values are finite, the largest "),
                   0) == 0);
  CHECK(lost.find("(blk.") != lost.npos);
  rows[at(third)].continuations.pop_back();
  CHECK(error(rows, zoq::option_likelihood{}) ==
        zoq::text("step 2: row ", third + 1, ": a row has 1 options, wanted at least 2"));
  rows = tiny_task(1);
  rows[0].prompt[0] = 96;
  CHECK(error(rows, zoq::option_likelihood{}) ==
        "step 0: forward: token 96 is outside the vocabulary of 96");
}

TEST_CASE("trainer: an update that makes a value NaN or infinite names the step and the tensor") {
  const zoq::cpu exec{{.threads = 1}};
  const llama model = tiny_llama().model();
  const std::vector<example> rows = tiny_task(5);
  auto view = zoq::sparse_view(exec, model.tensors(), large_weights(model));
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{},
                       zoq::sgd{.rate = 1e300});
  trainer.start(rows, few);
  std::string said;
  try {
    trainer.advance();
  } catch (const zoq::value_error& e) {
    said = e.what();
    CHECK(e.value >= 0);
    CHECK(e.value < view.order().size);
  }
  CHECK(said.rfind("step 0: the update made a value ", 0) == 0);
  CHECK(said.find("the rate 1e+300 (blk.") != said.npos);
  CHECK(is_one_line(said));
  // What the view holds now is no result.
  const temporary_folder folder;
  const std::string refused = message_of([&] { zoq::write_delta(folder / "d", view.to_delta()); });
  CHECK(refused.rfind(folder / "d" + ": blk.", 0) == 0);
  CHECK(refused.find(".offset: value ") != refused.npos);
  CHECK(folder.entries() == 0);
}

TEST_CASE("trainer: noise is that of a chosen epsilon, and measuring it changes nothing") {
  const zoq::cpu exec{{.threads = 1}};
  const llama model = tiny_llama().model();
  const std::vector<example> rows = tiny_task(6);
  auto view = zoq::sparse_view(exec, model.tensors(), large_weights(model));
  zoq::trainer trainer(exec, model, view, zoq::option_likelihood{}, zoq::spsa{}, zoq::sgd{});
  trainer.start(rows, few);
  const double noise = trainer.measure_noise();
  CHECK(trainer.cost().evaluations == 24);
  CHECK(noise == trainer.measure_epsilon().noise);
  CHECK(noise > 0);
  CHECK(view.branches().count == 1);
  int asked = 0;
  CHECK_THROWS_AS(trainer.measure_noise({}, [&] { zoq::require(++asked < 3, "enough"); }),
                  zoq::error);
  CHECK(asked == 3);
}

TEST_CASE("trainer: settings that make no sense are refused") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  const std::vector<example> rows = tiny_task(2);
  const auto error = [&](std::span<const example> data, const zoq::train_options& options) {
    return message_of([&] { train(exec, model, large_weights(model), data, options); });
  };
  CHECK(error({}, {}) == "row_order: there are no rows");
  CHECK(error(rows, {.batch_size = 0}) == "row_order: batch size 0, wanted at least 1");
  CHECK(error(rows, {.stacked_rows = 0}) == "trainer: stacked rows and branches must be positive");
  CHECK(error(rows, {.stacked_branches = 0}) ==
        "trainer: stacked rows and branches must be positive");
}

TEST_CASE("trainer: limits on derivative and norm reach every step") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama({.format = "q4_0"}).model();
  const zoq::mask places = large_weights(model);
  const auto rows = tiny_task(6);
  const auto length = [&](double clip, double clip_norm) {
    const outcome run = train(exec, model, places, rows,
                              {.steps = 1, .batch_size = 6, .clip = clip, .clip_norm = clip_norm},
                              zoq::spsa{}, zoq::sgd{.rate = 1});
    double sum = 0;
    for (const float v : run.values) {
      sum += static_cast<double>(v) * static_cast<double>(v);
    }
    return std::sqrt(sum);
  };
  const double whole = length(0, 0);
  // Floats, each rounded by 2^-25 of itself.
  CHECK(length(0, 0.25 * whole) == doctest::Approx(0.25 * whole).epsilon(1e-6));
  CHECK(length(1e-3, 0) == doctest::Approx(1e-3 * length(1, 0)).epsilon(1e-6));
  CHECK(length(1e9, 1e9) == whole);
}
