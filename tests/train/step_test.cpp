// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/step.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "counting.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "ops/samples.hpp"
#include "zoq/core/choice.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/estimate/spsa.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/optim/adam.hpp"
#include "zoq/optim/optimizers.hpp"
#include "zoq/optim/sgd.hpp"
#include "zoq/random/seeds.hpp"
#include "zoq/train/minimize.hpp"

using zoq::answer;
using zoq::index_t;
using zoq::query;
using namespace zoq::test;

namespace {

constexpr index_t k = 10;  // no multiple of 4
const zoq::extent every{0, 1, k};
const zoq::value_order order{&every, 1, k};

/// Answers queries with a function of the point, and counts them.
struct evaluator {
  std::vector<float>* values;
  zoq::any_direction direction;
  index_t asked = 0;
  index_t calls = 0;

  static double loss(const std::vector<float>& x) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]) * (0.25 * static_cast<double>(i) - 1);
    }
    return sum;
  }
  void operator()(std::span<const query> queries, std::vector<answer>& answers) {
    ++calls;
    for (const query& q : queries) {
      ++asked;
      answers.push_back({loss(zoq::point_of(q, *values, direction, order))});
    }
  }
};

/// Momentum whose facts can be seen, and whose state must stay its own.
struct watched {
  static constexpr std::string_view name = "watched";
  static constexpr int state_floats = 2;
  static constexpr bool needs_norm = true;
  zoq::step_facts* seen;

  struct rule {
    float operator()(float value, float gradient, float* state) const {
      state[0] += gradient;
      state[1] += 1;
      return value - state[0];
    }
  };
  [[nodiscard]] rule at(const zoq::step_facts& facts) const {
    *seen = facts;
    return {};
  }
};
static_assert(zoq::optimizer<watched>);

/// Asks for one loss, then, if it was above 0, for another at a point of its own; two terms, one of
/// them with a shape.
struct in_rounds {
  static constexpr std::string_view name = "rounds";
  struct state {
    int told = 0;
  };
  const float* shape;

  template <zoq::executor X>
  bool ask(const X&, const zoq::step_info& at, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    if (answers.size() >= 2 || (answers.size() == 1 && answers[0].loss <= 0)) {
      return false;
    }
    wanted.push_back({.seed = at.seed + answers.size(), .scale = 1});
    return true;
  }
  template <zoq::executor X>
  void tell(const X&, const zoq::step_info&, state& s, std::span<const query> asked,
            std::span<const answer> answers, zoq::gradient& g) const {
    g.loss = answers[0].loss;
    g.slope = ++s.told;
    g.terms.push_back({asked[0].seed, 2.0});
    g.terms.push_back({asked.back().seed, -0.5, shape});
  }
};
static_assert(zoq::estimator<in_rounds, zoq::any_executor>);

float z_of(const zoq::any_direction& direction, zoq::seed_t seed, index_t i) {
  return std::visit([&](const auto& z) { return z.at(seed, order).four(i / 4).at[i % 4]; },
                    direction);
}

}  // namespace

TEST_CASE_TEMPLATE("stepper: w <- w - rate * schedule * slope * z, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const zoq::any_direction& direction :
       {zoq::any_direction(zoq::gaussian{}), zoq::any_direction(zoq::rademacher{})}) {
    const zoq::recipe how{3, 42, direction, zoq::linear_decay{}};
    const zoq::spsa estimator{.epsilon = 0.125};
    zoq::stepper step(exec, order, estimator, zoq::sgd{.rate = 0.5}, how);
    std::vector<float> values = uniform(k, 1);
    evaluator f{&values, direction};
    for (std::uint64_t t = 0; t < 3; ++t) {
      CHECK(step.next() == t);
      CHECK_FALSE(step.done());
      std::vector<float> wanted = values;
      const zoq::step_result got = step.advance(values.data(), f);
      CHECK(got.step == t);
      REQUIRE(got.answers.size() == 2);
      const double slope = (got.answers[0].loss - got.answers[1].loss) / (2 * 0.125);
      CHECK(got.slope == slope);
      CHECK(got.loss == (got.answers[0].loss + got.answers[1].loss) / 2);
      CHECK(got.schedule == 1 - static_cast<double>(t) / 3);
      const zoq::seed_t seed = zoq::derive_seed(42, zoq::purpose::directions, t);
      const auto rate = static_cast<float>(0.5 * got.schedule);
      for (index_t i = 0; i < k; ++i) {
        const auto g = static_cast<float>(slope * static_cast<double>(z_of(direction, seed, i)));
        wanted[at(i)] = std::fma(-rate, g, wanted[at(i)]);
      }
      CHECK(same_bits(values, wanted));
    }
    CHECK(step.done());
  }
}

TEST_CASE("R1: a step asks for two losses, two-sided, for q + 1, one-sided, all in one round") {
  const zoq::serial exec;
  const auto counted = [&](const auto& estimator) {
    std::vector<float> values = uniform(k, 2);
    zoq::stepper step(exec, order, estimator, zoq::sgd{.rate = 0.01}, zoq::recipe{5, 1});
    evaluator f{&values, zoq::gaussian{}};
    while (!step.done()) {
      step.advance(values.data(), f);
    }
    CHECK(f.calls == 5);
    return f.asked;
  };
  CHECK(counted(zoq::spsa{}) == 5 * 2);
  CHECK(counted(zoq::spsa{.probes = 3}) == 5 * 6);
  CHECK(counted(zoq::spsa_one_sided{}) == 5 * 2);
  CHECK(counted(zoq::spsa_one_sided{.probes = 3}) == 5 * 4);
}

TEST_CASE_TEMPLATE("stepper: rounds, shapes, states and norms reach those who asked for them", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const std::vector<float> shape = uniform(k, 3, 0.5, 2);
  zoq::step_facts facts;
  zoq::stepper step(exec, order, in_rounds{shape.data()}, watched{&facts},
                    zoq::recipe{4, 7, zoq::rademacher{}, zoq::cosine{}});
  std::vector<float> values(at(k)), sum(at(k));
  for (std::uint64_t t = 0; t < 3; ++t) {
    std::vector<float> before = values;
    std::vector<query> asked;
    int rounds = 0;
    const double first_loss = t == 1 ? -1 : 2;
    const zoq::step_result got = step.advance(
        values.data(), [&](std::span<const query> wanted, std::vector<answer>& answers) {
          CHECK(answers.size() == asked.size());  // those of earlier rounds
          ++rounds;
          asked.insert(asked.end(), wanted.begin(), wanted.end());
          answers.push_back({first_loss});
        });
    CHECK(rounds == (t == 1 ? 1 : 2));
    CHECK(got.answers.size() == asked.size());
    CHECK(got.slope == static_cast<double>(t + 1));  // the estimator's state goes on
    CHECK(facts.step == t);
    CHECK(facts.loss == first_loss);
    CHECK(facts.schedule == zoq::factor(zoq::cosine{}, t, 4));
    double norm = 0;
    for (index_t i = 0; i < k; ++i) {
      const auto z0 = static_cast<double>(z_of(zoq::rademacher{}, asked[0].seed, i));
      const auto z1 = static_cast<double>(z_of(zoq::rademacher{}, asked.back().seed, i));
      // +-2 is exact; the second term is fused to it in double, and rounded once.
      const auto g = static_cast<float>(2 * z0 - 0.5 * static_cast<double>(shape[at(i)]) * z1);
      sum[at(i)] += g;
      before[at(i)] -= sum[at(i)];
      norm += static_cast<double>(g) * static_cast<double>(g);
    }
    CHECK(same_bits(values, before));
    CHECK(facts.gradient_norm2 == norm);
  }
  for (index_t i = 0; i < k; ++i) {
    CHECK(step.optimizer_state()(2 * i) == sum[at(i)]);
    CHECK(step.optimizer_state()(2 * i + 1) == 3);
  }
}

TEST_CASE_TEMPLATE("stepper: recorded losses give the same values, others are refused", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::recipe how{4, 9};
  const zoq::spsa estimator{.probes = 2};
  std::vector<float> values = uniform(k, 4), again = values;
  zoq::stepper first(exec, order, estimator, zoq::sgd{.rate = 0.1}, how);
  zoq::stepper second(exec, order, estimator, zoq::sgd{.rate = 0.1}, how);
  evaluator f{&values, zoq::gaussian{}};
  std::vector<answer> recorded;
  while (!first.done()) {
    recorded = first.advance(values.data(), f).answers;
    const zoq::step_result got = second.replay(again.data(), recorded);
    CHECK(got.answers.size() == 4);
    CHECK(same_bits(again, values));
  }
  CHECK(f.asked == 16);
  zoq::stepper third(exec, order, estimator, zoq::sgd{.rate = 0.1}, how);
  third.skip_to(2);
  CHECK(third.next() == 2);
  const auto error = [&](std::span<const answer> losses) {
    return message_of([&] { third.replay(again.data(), losses); });
  };
  CHECK(error(std::span(recorded).first(3)) == "step 2: the record has 3 losses, more are asked");
  recorded.push_back({1});
  CHECK(error(recorded) == "step 2: the record has 5 losses, 4 are asked");
}

TEST_CASE("stepper: losses that are no finite numbers stop the run, naming the step") {
  const zoq::serial exec;
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    zoq::stepper step(exec, order, zoq::spsa{}, zoq::sgd{.rate = 0.1}, zoq::recipe{9, 1});
    std::vector<float> values = uniform(k, 5);
    evaluator f{&values, zoq::gaussian{}};
    step.advance(values.data(), f);
    step.advance(values.data(), f);
    const std::vector<float> before = values;
    CHECK(message_of([&] {
            step.advance(values.data(), [&](auto, std::vector<answer>& answers) {
              answers.push_back({1});
              answers.push_back({bad});
            });
          }) == zoq::text("step 2: loss 1 of 2 is ", bad));
    CHECK(same_bits(values, before));
    CHECK(step.next() == 2);
  }
}

TEST_CASE("stepper: values that would leave the numbers, and missing losses, stop the run") {
  const zoq::serial exec;
  std::vector<float> values = uniform(k, 6);
  evaluator f{&values, zoq::gaussian{}};
  zoq::stepper far(exec, order, zoq::spsa{}, zoq::sgd{.rate = 1e300}, zoq::recipe{2, 1});
  CHECK(message_of([&] {
          far.advance(values.data(), f);
        }).rfind("step 0: the update made a value ", 0) == 0);
  zoq::stepper step(exec, order, zoq::spsa{}, zoq::sgd{.rate = 1}, zoq::recipe{2, 1});
  CHECK(message_of([&] {
          step.advance(values.data(),
                       [](auto, std::vector<answer>& answers) { answers.push_back({1}); });
        }) == "step 0: 1 losses for 2 queries");
  zoq::stepper none(exec, order, zoq::spsa{}, zoq::sgd{.rate = 1}, zoq::recipe{0, 1});
  CHECK(none.done());
}

namespace {

/// One term a probe, with given derivatives: to see what limits do to them.
struct given_slopes {
  static constexpr std::string_view name = "given";
  using state = zoq::no_state;
  std::vector<double> slopes;

  template <zoq::executor X>
  bool ask(const X&, const zoq::step_info&, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    wanted.push_back({});
    return answers.empty();
  }
  template <zoq::executor X>
  void tell(const X&, const zoq::step_info& at, state&, std::span<const query>,
            std::span<const answer>, zoq::gradient& g) const {
    for (std::size_t p = 0; p < slopes.size(); ++p) {
      g.terms.push_back({at.seed + p, slopes[p] / static_cast<double>(slopes.size())});
    }
  }
};

std::vector<float> step_of(const given_slopes& e, const zoq::recipe& how) {
  const zoq::serial exec;
  std::vector<float> values(at(k));
  zoq::stepper step(exec, order, e, zoq::sgd{.rate = 1}, how);
  step.advance(values.data(), [](auto, std::vector<answer>& answers) { answers.push_back({1}); });
  return values;
}

/// Counts its steps, and gives the count as the slope.
struct counts_steps {
  static constexpr std::string_view name = "counts";
  struct state {
    float steps = 0;
  };
  template <zoq::executor X>
  bool ask(const X&, const zoq::step_info&, state&, std::span<const answer> answers,
           std::vector<query>& wanted) const {
    wanted.push_back({});
    return answers.empty();
  }
  template <zoq::executor X>
  void tell(const X&, const zoq::step_info& at, state& s, std::span<const query>,
            std::span<const answer>, zoq::gradient& g) const {
    g.slope = static_cast<double>(++s.steps);
    g.terms.push_back({at.seed, g.slope});
  }
  static zoq::index_t state_bytes(zoq::index_t) { return 4; }
  template <zoq::executor X>
  std::vector<float> save(const X&, const state& s) const {
    return {s.steps};
  }
  template <zoq::executor X>
  void load(const X&, std::span<const float> saved, state& s) const {
    zoq::require(saved.size() <= 1, "counts: ", saved.size(), " floats");
    s.steps = saved.empty() ? 0 : saved[0];
  }
};
static_assert(zoq::saved_estimator<counts_steps, zoq::serial>);
static_assert(!zoq::saved_estimator<zoq::spsa, zoq::serial>);

}  // namespace

TEST_CASE("stepper: clip limits the derivative along every direction, to the bit") {
  const zoq::recipe plain{1, 3}, limited{1, 3, zoq::gaussian{}, zoq::constant{}, 2};
  CHECK(same_bits(step_of({{5, -0.5, -7}}, limited), step_of({{2, -0.5, -2}}, plain)));
  CHECK(same_bits(step_of({{1, 2, -2}}, limited), step_of({{1, 2, -2}}, plain)));
  CHECK_FALSE(same_bits(step_of({{5}}, limited), step_of({{5}}, plain)));
}

TEST_CASE(
    "clip_derivatives: estimates of two steps, as svrg's, are limited each by its own directions") {
  zoq::gradient g;
  g.terms = {{1, 5, nullptr, 3}, {2, -0.25, nullptr, 3}, {3, 7}};
  zoq::clip_derivatives(g, 2);
  CHECK(g.terms[0].weight == 1);
  CHECK(g.terms[1].weight == -0.25);
  CHECK(g.terms[2].weight == 2);
  g.terms.clear();
  zoq::clip_derivatives(g, 2);
}

TEST_CASE("stepper: clip_norm shortens a longer estimate to this norm, and leaves shorter ones") {
  const auto norm = [](const std::vector<float>& x) {
    double sum = 0;
    for (const float v : x) {
      sum += static_cast<double>(v) * static_cast<double>(v);
    }
    return std::sqrt(sum);
  };
  const auto limited = [](double most) {
    return zoq::recipe{1, 3, zoq::gaussian{}, zoq::constant{}, 0, most};
  };
  const std::vector<float> whole = step_of({{5, 1}}, {1, 3});
  const std::vector<float> half = step_of({{5, 1}}, limited(norm(whole) / 2));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CHECK(half[i] == whole[i] / 2);  // a factor of 2 is exact
  }
  CHECK(norm(step_of({{5, 1}}, limited(0.125))) == doctest::Approx(0.125).epsilon(1e-7));
  CHECK(same_bits(step_of({{5, 1}}, limited(norm(whole) * 1.01)), whole));
}

TEST_CASE("stepper: limits that make no sense are refused") {
  const auto error = [](double clip, double norm) {
    return message_of([&] {
      step_of({{1}}, {1, 3, zoq::gaussian{}, zoq::constant{}, clip, norm});
    });
  };
  CHECK(error(-1, 0) == "clip: -1, wanted a finite number of at least 0");
  CHECK(error(0, std::nan("")) == "clip_norm: nan, wanted a finite number of at least 0");
}

TEST_CASE("stepper: a step whose losses are all the same is flat") {
  const zoq::serial exec;
  std::vector<float> values = uniform(k, 6);
  zoq::stepper step(exec, order, zoq::spsa{.probes = 2}, zoq::sgd{.rate = 0.1}, zoq::recipe{9, 1});
  const auto flat = [&](std::vector<double> losses) {
    return step
        .advance(values.data(),
                 [&](auto, std::vector<answer>& answers) {
                   for (const double l : losses) {
                     answers.push_back({l});
                   }
                 })
        .flat;
  };
  const std::vector<float> before = values;
  CHECK(flat({0.25, 0.25, 0.25, 0.25}));
  CHECK(same_bits(values, before));
  CHECK_FALSE(flat({0.25, 0.25, 0.25, 0.5}));
  zoq::stepper single(exec, order, given_slopes{{1}}, zoq::sgd{.rate = 0.1}, zoq::recipe{9, 1});
  CHECK_FALSE(single
                  .advance(values.data(),
                           [](auto, std::vector<answer>& answers) { answers.push_back({1}); })
                  .flat);  // one loss says nothing
}

TEST_CASE("stepper: goes on with the saved states of optimizer and estimator, to the bit") {
  const zoq::serial exec;
  const zoq::recipe how{6, 8};
  const auto one = [](auto, std::vector<answer>& answers) { answers.push_back({1}); };
  std::vector<float> values(at(k));
  const zoq::adam o{.rate = 0.1};
  zoq::stepper whole(exec, order, counts_steps{}, o, how);
  for (int t = 0; t < 3; ++t) {
    whole.advance(values.data(), one);
  }
  std::vector<float> again = values;
  const std::vector<float> optimizer_state = whole.saved_optimizer();
  const std::vector<float> estimator_state = whole.saved_estimator();
  CHECK(optimizer_state.size() == at(2 * k));
  CHECK(estimator_state == std::vector<float>{3});
  zoq::stepper resumed(exec, order, counts_steps{}, o, how);
  resumed.resume(3, optimizer_state, estimator_state);
  while (!whole.done()) {
    CHECK(whole.advance(values.data(), one).slope == resumed.advance(again.data(), one).slope);
    CHECK(same_bits(values, again));
  }
  CHECK(resumed.done());
  const auto error = [&](std::uint64_t step, const auto& a, const std::vector<float>& b) {
    zoq::stepper s(exec, order, counts_steps{}, o, how);
    return message_of([&] { s.resume(step, a, b); });
  };
  CHECK(error(3, optimizer_state, {}) == "step 3: the estimator's state is missing");
  CHECK(error(0, optimizer_state, {}).empty());
  CHECK(error(3, optimizer_state, {1, 2}) == "counts: 2 floats");
  CHECK(error(3, estimator_state, {3}) == "step 3: 1 floats of state for an optimizer with 20");
  zoq::stepper plain(exec, order, zoq::spsa{}, o, how);
  CHECK(plain.saved_estimator().empty());
  zoq::stepper any(exec, order, zoq::any_estimator(zoq::spsa{}), o, how);
  CHECK(any.saved_estimator().empty());
  any.resume(3, optimizer_state, {});
  CHECK(any.next() == 3);
  zoq::stepper choice(exec, order, zoq::any_estimator(zoq::hizoo{}), o, how);
  CHECK(message_of([&] { choice.resume(3, optimizer_state, {}); }) ==
        "step 3: the estimator's state is missing");
  CHECK(message_of([&] { plain.resume(3, optimizer_state, estimator_state); }) ==
        "spsa: 1 floats of state, it has none");
}

TEST_CASE_TEMPLATE("stepper: takes a plain optimizer and any_optimizer alike", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const std::string& name : zoq::names_of<zoq::any_optimizer::list>()) {
    CAPTURE(name);
    const zoq::recipe how{4, 42};
    const zoq::any_optimizer any = zoq::optimizer_named(name, {.rate = 0.01});
    std::vector<float> values = uniform(k, 1), direct = values;
    zoq::stepper step(exec, order, zoq::spsa{}, any, how);
    evaluator f{&values, how.direction};
    std::vector<std::vector<answer>> losses;
    while (!step.done()) {
      losses.push_back(step.advance(values.data(), f).answers);
    }
    any.visit([&](const auto& o) {
      zoq::stepper alone(exec, order, zoq::spsa{}, o, how);
      while (!alone.done()) {
        alone.replay(direct.data(), losses[alone.next()]);
      }
    });
    CHECK(same_bits(values, direct));
  }
}

TEST_CASE("R8: byte_count is what was allocated: k floats and the optimizer's state") {
  const counting exec;
  zoq::step_facts facts;
  const index_t before = counted_space::live;
  const zoq::stepper plain(exec, order, zoq::spsa{}, zoq::sgd{}, zoq::recipe{1, 1});
  CHECK(plain.byte_count() == counted_space::live - before);
  CHECK(plain.byte_count() == 64);
  const index_t between = counted_space::live;
  const zoq::stepper with_state(exec, order, zoq::spsa{}, watched{&facts}, zoq::recipe{1, 1});
  CHECK(with_state.byte_count() == counted_space::live - between);
  CHECK(with_state.byte_count() == 64 + 128);
}
